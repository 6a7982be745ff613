"""Train nnU-Net on one fold and predict its test subjects; run by the Python of an environment that has nnunetv2.

`python benchmarks/nnunet_fold.py FOLDER CONFIGURATION SECONDS` with `images/<training>_0000.nii.gz`, `labels/` and
`tests/<test>_0000.nii.gz` in the folder. Planner, augmentation, network, loss and prediction (mirrored views, Gaussian
windows) are nnU-Net's own. All training subjects are trained on (fold "all"), and the number of iterations is cut to
what fits into SECONDS of processor time, learning-rate schedule included; validation is cut to one batch an epoch.
`masks/` and `cost.json` are written. A stopped training goes on from the last epoch.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import time
from pathlib import Path
from typing import Any

DATASET = "Dataset001_fold"
EPOCHS = 20  # parts of the training, with a checkpoint each
TRIAL_ITERATIONS = 4


def main(folder: Path, configuration: str, seconds: float) -> None:
    """Plan, train and predict, each unless it is done."""
    roots = {name: folder / name for name in ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results")}
    os.environ |= {name: str(path) for name, path in roots.items()} | {"nnUNet_n_proc_DA": "1"}
    prepare(folder, roots["nnUNet_raw"] / DATASET, roots["nnUNet_preprocessed"] / DATASET, configuration)
    os.environ |= {"nnUNet_n_proc_DA": "0"}  # augmentation in this process, whose time is counted
    trainer = train(folder, configuration, seconds)
    predict(trainer, folder)


def prepare(folder: Path, raw: Path, preprocessed: Path, configuration: str) -> None:
    """Write the data set as nnU-Net takes it, and let it plan and preprocess; none of this is counted as training."""
    from nnunetv2.experiment_planning.plan_and_preprocess_api import extract_fingerprints, plan_experiments, preprocess

    if (folder / "prepared").exists():
        return
    shutil.rmtree(raw, ignore_errors=True)
    shutil.copytree(folder / "images", raw / "imagesTr")
    shutil.copytree(folder / "labels", raw / "labelsTr")
    classes = json.loads((folder / "classes.json").read_text(encoding="utf-8"))
    description = {
        "channel_names": {"0": "T2"},
        "labels": {"background": 0, **classes},
        "numTraining": len(list((raw / "labelsTr").iterdir())),
        "file_ending": ".nii.gz",
    }
    (raw / "dataset.json").write_text(json.dumps(description), encoding="utf-8")
    extract_fingerprints([1], num_processes=1, check_dataset_integrity=True)
    plan_experiments([1])
    preprocess([1], configurations=[configuration], num_processes=[1])
    (folder / "prepared").touch()


def make_trainer(folder: Path, configuration: str) -> Any:
    """Return nnU-Net's own trainer for all training subjects, on the CPU."""
    import torch
    from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer

    preprocessed = folder / "nnUNet_preprocessed" / DATASET
    plans = json.loads((preprocessed / "nnUNetPlans.json").read_text(encoding="utf-8"))
    dataset = json.loads((preprocessed / "dataset.json").read_text(encoding="utf-8"))
    plans["continue_training"] = False  # asked for by the trainer; the checkpoint is loaded below
    trainer = nnUNetTrainer(plans, configuration, "all", dataset, device=torch.device("cpu"))
    trainer.num_val_iterations_per_epoch, trainer.save_every = 1, 1
    return trainer


def train(folder: Path, configuration: str, seconds: float) -> Any:
    """Return the trained trainer; the cost of an iteration is measured first, in a training that is thrown away."""
    cost_file = folder / "cost.json"
    if not cost_file.exists():
        trainer = make_trainer(folder, configuration)
        trainer.num_epochs, trainer.num_iterations_per_epoch, trainer.disable_checkpointing = 1, TRIAL_ITERATIONS, True
        each = []
        step = trainer.train_step

        def timed(batch: dict[str, Any]) -> dict[str, Any]:
            each.append(time.process_time())
            return dict(step(batch))

        trainer.train_step = timed
        trainer.run_training()
        per_iteration = (each[-1] - each[1]) / (TRIAL_ITERATIONS - 2)  # with the augmentation of the next batch
        shutil.rmtree(trainer.output_folder)
        iterations = max(1, int(seconds / per_iteration))
        _write(cost_file, {"seconds_per_iteration": per_iteration, "iterations": iterations, "training_seconds": 0.0})
    cost = json.loads(cost_file.read_text(encoding="utf-8"))
    trainer = make_trainer(folder, configuration)
    trainer.num_epochs = min(EPOCHS, cost["iterations"])
    trainer.num_iterations_per_epoch = cost["iterations"] // trainer.num_epochs
    cost |= {
        "iterations": trainer.num_epochs * trainer.num_iterations_per_epoch,
        "batch_size": trainer.configuration_manager.batch_size,
        "patch": list(trainer.configuration_manager.patch_size),
    }
    output = Path(trainer.output_folder)
    trainer.initialize()
    if (output / "checkpoint_final.pth").exists():
        trainer.load_checkpoint(str(output / "checkpoint_final.pth"))
        return trainer
    if (output / "checkpoint_latest.pth").exists():
        trainer.load_checkpoint(str(output / "checkpoint_latest.pth"))
    started = time.process_time()
    before, at_end = cost["training_seconds"], trainer.on_epoch_end

    def on_epoch_end() -> None:
        at_end()
        _write(cost_file, cost | {"training_seconds": before + time.process_time() - started})

    trainer.on_epoch_end = on_epoch_end
    trainer.run_training()
    return trainer


def predict(trainer: Any, folder: Path) -> None:
    """Segment the test subjects as nnU-Net does by default."""
    import torch
    from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor

    if (folder / "predicted").exists():
        return
    predictor = nnUNetPredictor(device=torch.device("cpu"), allow_tqdm=False)
    model = Path(trainer.output_folder).parent
    predictor.initialize_from_trained_model_folder(
        str(model), use_folds=("all",), checkpoint_name="checkpoint_final.pth"
    )
    (folder / "masks").mkdir(exist_ok=True)
    started = time.process_time()
    predictor.predict_from_files_sequential(str(folder / "tests"), str(folder / "masks"))
    cost = json.loads((folder / "cost.json").read_text(encoding="utf-8"))
    scans = len(list((folder / "tests").iterdir()))
    _write(folder / "cost.json", cost | {"prediction_seconds": (time.process_time() - started) / scans})
    (folder / "predicted").touch()


def _write(path: Path, values: dict[str, Any]) -> None:
    temporary = path.with_suffix(".tmp")
    temporary.write_text(json.dumps(values, indent=1), encoding="utf-8")
    temporary.replace(path)


if __name__ == "__main__":
    main(Path(sys.argv[1]).absolute(), sys.argv[2], float(sys.argv[3]))
