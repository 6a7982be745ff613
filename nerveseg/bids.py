"""`nerveseg-bids`: the BIDS App, which segments the scans of a BIDS dataset and writes BIDS derivatives."""

import os
import sys
from collections.abc import Sequence

from nerveseg.console import print_error, say
from nerveseg.errors import NervesegError
from nerveseg.files import explain_system_error
from nerveseg.launch.bids_arguments import PARTICIPANT, parse_bids_arguments, segment_overrides
from nerveseg.launch.main import INPUT_MISTAKE, run_verb

THREADS = ("OMP_NUM_THREADS", "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS", "NERVESEG_OPENVINO_THREADS")
"""Environment variables of the number of threads of torch, SimpleITK and OpenVINO, read when they are loaded."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the App on the words typed after it; return the exit code, that of `segment` at the participant level."""
    try:
        given = parse_bids_arguments(sys.argv[1:] if argv is None else argv)
        os.environ.update(dict.fromkeys(THREADS, str(given.n_cpus)) if given.n_cpus else {})
        from nerveseg.workflows.bids_dataset import RESULTS, check_dataset, check_output, image_templates
        from nerveseg.workflows.bids_derivatives import export_derivatives, join_results

        check_dataset(given.bids_dir, given.skip_bids_validation)
        images = image_templates(given.bids_dir, given.image)
        check_output(given.bids_dir, given.output_dir)
        template, code = next(iter(images.values())), 0
        if given.analysis_level == PARTICIPANT:
            code = run_verb(["segment", *segment_overrides(given, images, given.output_dir / RESULTS)])
        chosen = (given.participant_label, given.session_label)
        outcomes = export_derivatives(given.bids_dir, given.output_dir, template, *chosen)
        if given.analysis_level != PARTICIPANT:
            join_results(given.output_dir, outcomes, given.review)
        elif count := sum(outcome.summary is not None for outcome in outcomes):
            say(f"derivatives of {count} scans: {given.output_dir}")
        return code
    except NervesegError as error:
        print_error(error)
    except OSError as error:
        print_error(explain_system_error(error))
    return INPUT_MISTAKE


if __name__ == "__main__":
    sys.exit(main())
