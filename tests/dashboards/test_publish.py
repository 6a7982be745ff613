"""What a fold and an evaluation show on dashboards, in W&B's offline files."""

import hashlib
import json
import re
from pathlib import Path

import matplotlib.image
import numpy as np
import pandas as pd
import pytest

from nerveseg.dashboards import publish
from nerveseg.dashboards.privacy import subject_names, without_paths
from nerveseg.dashboards.publish import Dashboards, in_one_piece, log_evaluation, log_validation, mean_dice, shortened
from nerveseg.data.preprocessing import Preprocessing
from nerveseg.data.slice_store import SliceStore, StoreIndex
from nerveseg.data.slice_store_build import StoredSubject
from nerveseg.evaluation.comparisons import RATER_RATER, SCORE_COLUMNS
from nerveseg.evaluation.tables.table1 import table1
from nerveseg.files import writing_below
from nerveseg.inference.bundle import ModelDescription, TrainingRecord, read_description
from nerveseg.networks.registry import NetworkSpec
from nerveseg.training.checkpointed_loggers import MetricsCsv
from tests.helpers.wandb_server import inspected, rows, run_files

pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::DeprecationWarning")

SUBJECT = StoredSubject(
    id="007", sha256={"T2": "1" * 64}, slices=1, spacing_mm=(1.0, 1.0, 4.0), pixels=100,
    part_pixels=(9,),
)  # fmt: skip
STORE = SliceStore(
    Path("2b0f251ace0d4f25"),
    StoreIndex(study="thighs", channels=["T2"], preprocessing=Preprocessing(size=(8, 8)), subjects=[SUBJECT]),
)


@pytest.fixture
def cross_validation(tmp_path):
    folder = tmp_path / "outputs" / "demo"
    (folder / "evaluation" / "figures").mkdir(parents=True)
    named = {"class": ["nerve", "nerve"], "cohort": ["all", "all"]}
    table = pd.DataFrame(named | {"comparison": ["R-R", "Auto-GT"], "dice_mean": [0.75, 0.5]})
    table.to_csv(folder / "evaluation" / "table1.csv", index=False)
    scores = pd.DataFrame({"subject": ["007"], "cohort": ["all"], "metric": ["dice"], "value": [0.5]})
    scores.to_csv(folder / "evaluation" / "scores.csv", index=False)
    for name in ("comparison", "cases"):
        matplotlib.image.imsave(folder / "evaluation" / "figures" / f"{name}.png", np.zeros((4, 4, 3)))
    page = '<p>report of 007</p><img src="figures/comparison.png"><img src="data:image/png;base64,AAAA">'
    (folder / "evaluation" / "report.html").write_text(page)
    return folder


WANDB = {"_target_": "pytorch_lightning.loggers.WandbLogger", "project": "p", "offline": True}


def config(folder, subject_ids="plain"):
    root = str(folder.parent)
    return {
        "name": "demo",
        "logger": {"subject_ids": subject_ids, "wandb": WANDB},
        "output_root": root,
        "study": {"root": root, "n": 1},
    }


def shown(cross_validation):
    """Names of what the run shows, and the text of its files."""
    (path,) = run_files(cross_validation / "evaluation")
    names = {key.removesuffix("._type") for row in rows(path) for key in row}
    return names, {file.name: file.read_bytes() for file in (path.parent / "files").rglob("*") if file.is_file()}


def table(files, name):
    (content,) = [content for file, content in files.items() if re.match(f"{name}_.*table.json", file)]
    return json.loads(content)["data"]


def test_tables_figures_and_the_page_are_in_the_offline_run(cross_validation):
    log_evaluation(cross_validation, config(cross_validation), STORE)
    names, files = shown(cross_validation)
    assert {"evaluation/table1", "evaluation/scores", "figures/comparison", "figures/cases", "report"} <= names
    assert table(files, "table1") == [["nerve", "all", "R-R", 0.75], ["nerve", "all", "Auto-GT", 0.5]]
    assert table(files, "scores") == [["007", "all", "dice", 0.5]]
    (page,) = [content for name, content in files.items() if name.endswith(".html")]
    assert b"report of 007" in page


class Kept(Dashboards):
    """Dashboards that keep what is logged."""

    def log_table(self, name, table):
        vars(self)[name] = table

    def summarize(self, values):
        vars(self).setdefault("values", {}).update(values)


def test_the_validation_of_several_classes_is_their_mean_and_each_has_a_name_of_its_own():
    rows = [
        (subject, subject, cohort, "", "", structure, 0, "Auto-GT", "dice", dice)
        for subject, cohort, values in [("H1", "healthy", (0.9, 0.5)), ("I1", "ill", (0.6, 0.2))]
        for structure, dice in zip(("tibial", "peroneal"), values, strict=True)
    ]
    kept = Kept()
    log_validation(kept, pd.DataFrame(rows, columns=list(SCORE_COLUMNS)))
    assert kept.values == pytest.approx({
        "validation/dice": 0.55, "validation/dice/healthy": 0.7, "validation/dice/ill": 0.4,
        "validation/tibial/dice": 0.75, "validation/peroneal/dice": 0.35,
    })  # fmt: skip
    assert vars(kept)["validation/scores"]["class"].tolist() == ["tibial", "peroneal"] * 2
    single = Kept()
    log_validation(single, pd.DataFrame(rows[::2], columns=list(SCORE_COLUMNS)))
    assert set(single.values) == {"validation/dice", "validation/dice/healthy", "validation/dice/ill"}
    assert "class" not in vars(single)["validation/scores"]


def test_each_of_several_classes_has_its_own_means_figures_and_page(cross_validation):
    folder = cross_validation / "evaluation"
    rows = [(name, "all", "Auto-GT", dice) for name, dice in (("tibial", 0.8), ("peroneal", 0.4))]
    pd.DataFrame(rows, columns=["class", "cohort", "comparison", "dice_mean"]).to_csv(
        folder / "table1.csv", index=False
    )
    (folder / "figures" / "peroneal").mkdir()
    matplotlib.image.imsave(folder / "figures" / "peroneal" / "agreement.png", np.zeros((4, 4, 3)))
    (folder / "report-peroneal.html").write_text("<p>report of the peroneal nerve</p>")
    log_evaluation(cross_validation, config(cross_validation), STORE)
    names, _ = shown(cross_validation)
    assert {"figures/peroneal/agreement", "figures/comparison", "report", "report-peroneal"} <= names
    (path,) = run_files(folder)
    summary = {}
    for record in inspected(path):
        if record["type"] == "summary":
            summary |= {key: value for key, value in record["summary"]["update"].items() if "/dice/" in key}
    assert summary == {"test/tibial/Auto-GT/dice/all": 0.8, "test/peroneal/Auto-GT/dice/all": 0.4}


def test_the_scores_that_settings_are_chosen_by_are_in_the_summary(cross_validation):
    for number, (cohort, dice) in enumerate([("healthy", 0.9), ("ill", 0.6)]):
        fold = cross_validation / f"fold-{number}"
        fold.mkdir()
        held_out = [
            (f"H{number}{n}", f"H{number}{n}", cohort, "", "", "nerve", number, "Auto-GT", "dice", dice + n / 10)
            for n in range(number + 1)
        ]
        columns = ["subject", "group", "cohort", "location", "side", "class", "fold", "comparison", "metric", "value"]
        for name in ("validation", "scores"):
            pd.DataFrame(held_out, columns=columns).to_csv(fold / f"{name}.csv", index=False)
    log_evaluation(cross_validation, config(cross_validation), STORE)
    names, files = shown(cross_validation)
    assert "validation/scores" in names
    (path,) = run_files(cross_validation / "evaluation")
    summary = {
        key: value
        for record in inspected(path)
        if record["type"] == "summary"
        for key, value in record["summary"]["update"].items()
    }
    assert summary["validation/dice"] == pytest.approx((0.9 + 0.6 + 0.7) / 3)
    assert (summary["validation/dice/healthy"], summary["validation/dice/ill"]) == pytest.approx((0.9, 0.65))
    tables = [json.loads(content)["data"] for name, content in files.items() if name.startswith("scores_")]
    assert ["H00", "H10", "H11"] in [[row[0] for row in rows] for rows in tables]


def test_a_model_with_hashed_ids_is_shown_within_a_training(tmp_path):
    record = TrainingRecord(
        study="x", synthetic=True, subjects={"007": {}}, fold=0, epochs=1, seed=1, folds_seed=1
    )  # fmt: skip
    description = ModelDescription(
        architecture=NetworkSpec("FCDenseNet", {}), channels=["T2"], spacing_mm=(1.0, 1.0, 4.0),
        preprocessing=Preprocessing(size=(8, 8)), classes=None, training=record, versions={},
    )  # fmt: skip
    bundle = tmp_path / "fold-0" / "model"
    bundle.mkdir(parents=True)
    (bundle / "model.json").write_text(description.model_dump_json())
    shown = []

    class Shown(Dashboards):
        def log_model(self, folder, facts):
            shown.extend(read_description(folder).training.subjects)

    with writing_below(bundle.parent):
        publish._log_model(Shown([MetricsCsv(tmp_path)], subject_names("hashed", [SUBJECT.sha256])), bundle)
    assert len(shown) == 1
    assert re.fullmatch("[0-9a-f]{12}", shown[0])


def test_of_an_evaluation_done_again_there_is_one_run(cross_validation):
    for _ in range(2):
        log_evaluation(cross_validation, config(cross_validation), STORE)
    assert len(run_files(cross_validation / "evaluation")) == 1


def test_hashed_ids_are_the_only_ones_shown_and_no_figure_or_page_that_has_ids(cross_validation):
    log_evaluation(cross_validation, config(cross_validation, subject_ids="hashed"), STORE)
    names, files = shown(cross_validation)
    assert {"evaluation/scores", "figures/comparison"} <= names
    assert not {"figures/cases", "report"} & names
    ((subject, *_),) = table(files, "scores")
    assert re.fullmatch("[0-9a-f]{12}", subject)
    (path,) = run_files(cross_validation / "evaluation")
    assert not [name for name, content in {**files, "run": path.read_bytes()}.items() if b'"007"' in content]


def test_a_study_that_is_synthetic_by_its_description_has_the_tag(cross_validation, monkeypatch):
    labels = []

    def labelled(name, section, label, folder, root, plugins):
        labels.append(label)
        return MetricsCsv(folder / "metrics.csv")

    monkeypatch.setattr(publish, "open_logger", labelled)
    written = cross_validation.parent / "dataset_description.json"
    for described in ("thighs", "SYNTHETIC thighs"):
        written.write_text(json.dumps({"Name": described}))
        publish.open_dashboards(config(cross_validation), STORE, cross_validation / "evaluation", "evaluate")
    assert ["synthetic" in label.tags for label in labels] == [False, True]


def test_without_a_logger_an_evaluation_leaves_nothing(cross_validation):
    before = sorted(cross_validation.rglob("*"))
    log_evaluation(cross_validation, config(cross_validation) | {"logger": {"subject_ids": "plain"}}, STORE)
    assert sorted(cross_validation.rglob("*")) == before


def test_a_run_of_an_earlier_version_is_shown_with_plain_ids(cross_validation):
    log_evaluation(cross_validation, config(cross_validation) | {"logger": {"wandb": WANDB}}, STORE)
    assert table(shown(cross_validation)[1], "scores")[0][0] == "007"


def test_the_means_are_those_of_all_pairs_of_raters_and_of_the_automatic_mask():
    rows = [("OS-BW", 0.8), ("OS-LG", 0.9), ("BW-LG", 0.7), ("Auto-GT", 0.5), ("OS-GT", 1.0), ("Auto-OS", 0.1)]
    scores = pd.DataFrame(
        [("V01", "V01", name, "all", "dice", value) for name, value in rows],
        columns=["subject", "group", "comparison", "cohort", "metric", "value"],
    )
    assert mean_dice(table1(scores, ["OS", "BW", "LG"])) == {
        "Auto-GT/dice/all": 0.5,
        f"{RATER_RATER}/dice/all": pytest.approx((0.8 + 0.9 + 0.7) / 3),
    }


def test_a_page_in_one_piece_holds_its_pictures(cross_validation):
    page = in_one_piece(cross_validation / "evaluation" / "report.html")
    assert "figures/comparison.png" not in page
    assert page.count("data:image/png;base64,") == 2


def test_of_a_configuration_no_place_is_shown():
    found = without_paths(
        {
            "name": "demo",
            "output_root": "outputs",
            "study": {"root": "../x", "images": {"T2": "Smith/T2.nii"}, "raters": {"OS": "a"}, "participants": "p.tsv"},
            "network": {"_target_": "nerveseg.networks.A", "weights": "/home/smith/w.pt", "sizes": [1, "~/x", "C:\\x"]},
            "logger": {"mlflow": {"uri": "https://user:password@host"}},
            "extra": ["file:///x", "s3://bucket", "..", "../y", "plain/relative", "a..b"],
        }
    )
    assert found == {
        "name": "demo",
        "study": {"images": ["T2"], "raters": ["OS"]},
        "network": {"_target_": "nerveseg.networks.A", "sizes": [1]},
        "extra": ["plain/relative", "a..b"],
    }


def test_hashed_ids_differ_by_study_and_are_not_the_ids_own_hash():
    one = subject_names("hashed", [{"T2": "1"}, {"T2": "2"}])
    same = subject_names("hashed", [{"T2": "2"}, {"T2": "1"}])
    other = subject_names("hashed", [{"T2": "1"}, {"T2": "3"}])
    assert one("V01") == same("V01") != other("V01")
    assert one("V01") != hashlib.sha256(b"V01").hexdigest()[:12]
    assert len({one(f"V{number}") for number in range(1000)}) == 1000
    assert subject_names("plain", [])("V01") == "V01"


def test_a_long_name_keeps_its_ends_and_stays_unique():
    names = [f"demo/{'network.growth_rate=12,' * 10}seed={seed}/fold-0" for seed in range(3)]
    short = [shortened(name) for name in names]
    assert {len(name) for name in short} == {128}
    assert len(set(short)) == 3
    assert all(name.startswith("demo/") and name.endswith("/fold-0") for name in short)
    assert shortened("demo/fold-0") == "demo/fold-0"


def test_no_dashboard_is_fine():
    with Dashboards() as dashboards:
        dashboards.summarize({"a": 1.0})
        assert dashboards.loggers == []
