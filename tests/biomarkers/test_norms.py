import pandas as pd
import pytest

from nerveseg.biomarkers.norms import PatientTraits, norms_for, read_norms, z_scores
from nerveseg.biomarkers.summary import NerveSummary
from nerveseg.errors import ConfigurationError

HEADER = "quantity,location,sex,weight_min_kg,weight_max_kg,mean,sd\n"


@pytest.fixture
def summary():
    return NerveSummary(
        side="left", volume_mm3=9000.0, length_mm=250.0, mean_csa_mm2=50.0, mean_csa_perpendicular_mm2=48.0,
        max_csa_mm2=60.0, max_csa_slice=3, max_csa_z_mm=13.2, slices_with_nerve=60, slices_total=60, coverage=1.0,
        coverage_of_stack=1.0, split_slice=None, mean_signal={"T2map": 60.0},
    )  # fmt: skip


@pytest.fixture
def norms(tmp_path):
    def table(rows, header=HEADER):
        path = tmp_path / "norms.csv"
        path.write_text(header + rows, encoding="utf-8")
        return read_norms(path)

    return table


def test_the_one_row_that_fits_gives_the_score(norms, summary):
    table = norms(
        "mean_csa_mm2,medial,F,,70,40,5\n"
        "mean_csa_mm2,medial,F,70,,44,4\n"
        "mean_csa_mm2,medial,M,,,52,6\n"
        "mean_csa_mm2,distal,,,,30,5\n"
        "mean_signal.T2map,,,,,50,4\n"
    )
    assert z_scores(summary, norms_for(PatientTraits("medial", "F", 69.9), table)) == {
        "mean_csa_mm2": 2.0,
        "mean_signal.T2map": 2.5,
    }
    assert z_scores(summary, norms_for(PatientTraits("medial", "F", 70.0), table))["mean_csa_mm2"] == 1.5
    assert z_scores(summary, norms_for(PatientTraits("distal"), table))["mean_csa_mm2"] == 4.0


@pytest.mark.parametrize(
    "patient",
    [PatientTraits(), PatientTraits("medial", "F"), PatientTraits("medial", None, 60.0), PatientTraits("proximal")],
)
def test_what_is_not_known_of_a_person_is_not_guessed(norms, summary, patient):
    assert z_scores(summary, norms_for(patient, norms("mean_csa_mm2,medial,F,,70,40,5\n"))) == {}


def test_a_quantity_without_a_value_has_no_score(norms, summary):
    assert (
        z_scores(summary, norms_for(PatientTraits(), norms("lesion_burden,,,,,0.01,0.01\nmean_signal.MTR,,,,,30,2\n")))
        == {}
    )


@pytest.mark.parametrize(("coverage", "scores"), [(1.0, {"lesion_volume_mm3": 2.0}), (0.6, {}), (None, {})])
def test_the_lesion_of_part_of_a_nerve_is_not_held_against_whole_nerves(coverage, scores, norms, summary):
    part = summary.model_copy(update={"lesion_volume_mm3": 30.0, "lesion_coverage": coverage})
    assert z_scores(part, norms_for(PatientTraits(), norms("lesion_volume_mm3,,,,,10,10\n"))) == scores


def test_several_rows_are_an_error(norms, summary):
    table = norms("mean_csa_mm2,medial,,,,40,5\nmean_csa_mm2,,F,,,44,4\n")
    with pytest.raises(ConfigurationError) as caught:
        z_scores(summary, norms_for(PatientTraits("medial", "F"), table))
    assert caught.value.found == "2 rows for mean_csa_mm2"


@pytest.mark.parametrize(
    ("rows", "found"),
    [
        ("mean_csa_mm2,,,,,40,0\n", "line 2, sd"),
        ("volume_mm3,,,,,40,5\nmean_csa_mm2,,,,,,5\n", "line 3, mean"),
        ("mean_csa_mm2,,,light,,40,5\n", "line 2, weight_min_kg"),
        ("area,,,,,40,5\n", "line 2: area"),
        ("side,,,,,40,5\n", "line 2: side"),
    ],
)
def test_a_wrong_row_is_named_by_its_line(norms, rows, found):
    with pytest.raises(ConfigurationError) as error:
        norms(rows)
    assert found in str(error.value)
    assert "norms.csv" in str(error.value)


def test_other_columns_are_refused(norms):
    with pytest.raises(ConfigurationError) as caught:
        norms("mean_csa_mm2,40,5\n", header="quantity,mean,sd\n")
    assert caught.value.found == "quantity, mean, sd"
    assert caught.value.path.name == "norms.csv"


def test_a_missing_or_empty_file_is_refused(tmp_path, norms):
    with pytest.raises(ConfigurationError) as caught:
        read_norms(tmp_path / "none.csv")
    assert isinstance(caught.value.found, FileNotFoundError)
    assert caught.value.path == tmp_path / "none.csv"
    with pytest.raises(ConfigurationError) as caught:
        norms("", header="")
    assert isinstance(caught.value.found, pd.errors.EmptyDataError)
    assert caught.value.path.name == "norms.csv"
