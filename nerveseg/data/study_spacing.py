"""In-plane spacing of a study: the median over its subjects, to which a study of mixed spacings is resampled.

It is read from the headers of all subjects, test subjects included: no voxel is read for it, and it is the same in
every fold, so that the folds share one slice store.
"""

from statistics import median_low

from nerveseg.data.preprocessing import Preprocessing
from nerveseg.data.study import Study
from nerveseg.errors import StudyError


def settle_spacing(preprocessing: Preprocessing, study: Study) -> Preprocessing:
    """Return the preprocessing with numbers in place of the spacing "study".

    Raises:
        VolumeError: The header of an image cannot be read.
        GeometryError: A header contradicts itself.
    """
    if preprocessing.spacing_mm != "study":
        return preprocessing
    return preprocessing.model_copy(update={"spacing_mm": median_spacing_mm(study)})


def median_spacing_mm(study: Study) -> tuple[float, float]:
    """Return the median in-plane spacing (x, y) of the reference images, to a nanometre.

    Of an even number of subjects it is the lower one of the middle two, so that the subjects of that spacing are not
    resampled.

    Raises:
        StudyError: The study has no subjects.
        VolumeError: The header of an image cannot be read.
        GeometryError: A header contradicts itself.
    """
    if not study.subjects:
        raise StudyError(
            "a study with subjects",
            found="none",
            path=study.description.root,
            remedy="check the study's path templates",
        )
    spacings = [study.grid(subject).ras_spacing_mm for subject in study.subjects]
    return median_low(round(each[0], 6) for each in spacings), median_low(round(each[1], 6) for each in spacings)
