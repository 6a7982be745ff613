"""What `train init=` is worth: few corrected scans of a contrast that the model was not trained on. SYNTHETIC.

    python benchmarks/corrected_scans.py --init <fold of best_half> --root outputs/corrected-fatsat
    python benchmarks/corrected_scans.py --init nerveseg/models/thigh --contrast t2 --root outputs/corrected-thigh
        --options network=unet preprocessing.size=[112,112]

The half-size cohort is simulated with another seed, so that nobody in it is known to the model, and its fat-suppressed
or its T2 series taken as the image. With a number of its people (the consensus of the raters stands for the corrected
mask) a network is trained from scratch and from the model, each with the same number of steps, by the recipe of
experiment=best_half and the options given. Both segment the same other people. The table has the mean Dice against the
consensus, of patients and of volunteers, for each seed, beside that of the model as it was and, with `--beside`, of
another one. Trainings are resumable, finished ones are kept, and the same command goes on.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path
from statistics import mean
from typing import Any

import pandas as pd
from rows import this_machine

from nerveseg import segment_scan
from nerveseg.data.study import Study, Subject
from nerveseg.evaluation.metrics.pair_scores import dice
from nerveseg.inference.ensemble import open_model
from nerveseg.launch.arguments import to_hydra_overrides
from nerveseg.launch.compose import compose_jobs
from nerveseg.workflows.prepare_study import open_configured_study
from nerveseg.workflows.training_job import training_job

REPOSITORY = Path(__file__).parent.parent
SEED = 777  # of the new people; the cohorts that models are trained on have others
CONTRASTS = {
    "fatsat": "derivatives/resampled/sub-{id}/anat/sub-{id}_acq-fatsat_space-T2w_T2w.nii.gz",
    "t2": "sub-{id}/anat/sub-{id}_T2w.nii.gz",
}
MOST = 17  # people set aside for training, of whom one is held out by the fold; the others are the test
STEPS = 800  # batches of a training
SLICES, BATCH = 30, 8
COHORTS = ("patient", "volunteer")


def main() -> None:
    """Train and segment what is missing, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--init", type=Path, required=True, help="model to begin with, one fold")
    parser.add_argument("--beside", type=Path, help="model that is applied as it is, to compare with")
    parser.add_argument("--contrast", choices=CONTRASTS, default="fatsat")
    parser.add_argument("--options", nargs="*", default=[], help="options of the trainings")
    parser.add_argument("--counts", nargs="+", type=int, default=[4, 8, 16])
    parser.add_argument("--seeds", nargs="+", type=int, default=[1, 2])
    parser.add_argument("--root", type=Path, default=REPOSITORY / "outputs")
    options = parser.parse_args()
    os.environ |= {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "WANDB_MODE": "disabled", "MPLBACKEND": "Agg"}
    root = options.root.absolute() / "corrected"
    image = CONTRASTS[options.contrast]
    study = new_people(root, image)
    people = mixed(study)
    known, test = people[:MOST], people[MOST:]
    rows = []
    for words, kind, model in (
        ("the model as it was", "init", options.init),
        ("the other model", "beside", options.beside),
    ):
        if model is not None:
            record = root / record_name(kind, model, options.contrast)
            rows.append(row(words, model.absolute(), study, test, record))
    for count in options.counts:
        for words, init in (("from scratch", None), ("from the model", options.init.absolute())):
            for seed in options.seeds:
                further = [*options.options, *([f"init={init}"] if init else [])]
                model = train(root, known[: count + 1], image, seed, further)
                rows.append(row(f"{count}, {words}", model, study, test, model / "dice.json"))
    print(f"SYNTHETIC, {options.contrast}, {len(test)} other people, {STEPS} steps each, {this_machine()}\n")
    print("| training | patients | volunteers |\n| --- | --- | --- |")
    for training, of_training in pd.DataFrame(rows).groupby("training", sort=False):
        cells = [", ".join(f"{value:.3f}" for value in of_training[name]) for name in COHORTS]
        print(f"| {' | '.join([str(training), *cells])} |")


def record_name(kind: str, model: Path, contrast: str) -> str:
    """Return the name of the file of a model's Dice, which another model or contrast does not share."""
    return f"{kind}-{contrast}-{open_model(model).sha256[:12]}.json"


def new_people(root: Path, image: str) -> Study:
    """Simulate the study unless it is there, and open it with one of its series as the image."""
    words = [
        "study=phantom_half",
        f"study.simulate.seed={SEED}",
        f"study.images.T2='{image}'",
        f"study.root={root}/study",
    ]
    job = compose_jobs("train", to_hydra_overrides("train", ["experiment=best_half", *words]))[0]
    return open_configured_study(training_job(job).config.study)


def mixed(study: Study) -> list[Subject]:
    """Return the subjects in an order in which every part has the cohorts in their proportion."""
    cohorts = [[one for one in study.subjects if one.cohort == name] for name in COHORTS]
    placed = [((number + 0.5) / len(each), one.id, one) for each in cohorts for number, one in enumerate(each)]
    return [one for _, _, one in sorted(placed, key=lambda entry: entry[:2])]


def train(root: Path, subjects: list[Subject], image: str, seed: int, further: list[str]) -> Path:
    """Train on all people but one, who are the first fold's training subjects; return the fold's folder."""
    count = len(subjects) - 1
    place = root / f"people-{count}"
    table = root / "study" / "participants.tsv"
    place.mkdir(parents=True, exist_ok=True)
    rows = pd.read_csv(table, sep="\t", dtype=str, keep_default_na=False)
    ids = [f"sub-{subject.id}" for subject in subjects]
    rows[rows.participant_id.isin(ids)].to_csv(place / "participants.tsv", sep="\t", index=False)
    for name in ("derivatives", *ids):
        if not (place / name).exists():
            (place / name).symlink_to(root / "study" / name)
    name = f"corrected-{count}-{'init' if any(word.startswith('init=') for word in further) else 'scratch'}-{seed}"
    words = [
        "experiment=best_half", "study=bids", "study.synthetic=true", f"study.root={place}",
        f"study.images.T2='{image}'", "folds=even", f"folds.count={count + 1}", "fold=0", f"name={name}",
        f"output_root={root}", f"seed={seed}", f"optimization.epochs={round(STEPS * BATCH / (count * SLICES))}",
        "logger=csv", "report=false", "trainer=cpu", "trainer.workers=0", "trainer.compile=false",
        "reference_table=null", *further,
    ]  # fmt: skip
    subprocess.run([sys.executable, "-m", "nerveseg.train", *words], check=True, stdout=subprocess.DEVNULL)
    return training_job(compose_jobs("train", to_hydra_overrides("train", words))[0]).folder.path


def row(training: str, model: Path, study: Study, test: list[Subject], record: Path) -> dict[str, Any]:
    """Segment the test subjects by a model, unless it is done, and return the mean Dice of each cohort."""
    if not record.exists():
        scores = {}
        for subject in test:
            found = segment_scan(subject.image, model)
            grid = study.grid(subject)
            truth = study.read_masks(subject, grid).consensus
            scores[subject.id] = dice(truth, found.scan.grid.to_ras(found.mask))
        record.write_text(json.dumps(scores), encoding="utf-8")
    scores = json.loads(record.read_text(encoding="utf-8"))
    cohorts = {name: [scores[one.id] for one in test if one.cohort == name] for name in COHORTS}
    return {"training": training} | {name: mean(values) for name, values in cohorts.items()}


if __name__ == "__main__":
    main()
