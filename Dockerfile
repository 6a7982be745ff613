# The BIDS App in a container (docs/bids_app.md). Unbuilt so far.
#   docker build -t nerveseg --build-arg PIP_ARGS='--extra-index-url <index of the CPU build of torch>' .
# Without PIP_ARGS, pip takes its default build of torch: on x86 that for CUDA, several GB larger.
FROM python:3.12-slim AS wheel
ARG PIP_ARGS=""
WORKDIR /source
COPY constraints.txt pyproject.toml README.md LICENSE ./
COPY conf conf
COPY nerveseg nerveseg
RUN pip install --no-cache-dir ${PIP_ARGS} -c constraints.txt build hatchling \
 && python -m build --wheel --no-isolation --outdir /dist

FROM python:3.12-slim
ARG PIP_ARGS=""
COPY constraints.txt /install/
RUN pip install --no-cache-dir ${PIP_ARGS} -c /install/constraints.txt torch
COPY --from=wheel /dist/ /install/
RUN pip install --no-cache-dir ${PIP_ARGS} -c /install/constraints.txt "$(ls /install/*.whl)[dicom,openvino]"

# Any user may run it (docker run --user), also one without a home folder.
RUN useradd --create-home nerveseg
USER nerveseg
ENV USER=nerveseg HOME=/tmp MPLCONFIGDIR=/tmp MPLBACKEND=Agg WANDB_MODE=disabled PYTHONDONTWRITEBYTECODE=1
WORKDIR /tmp
ENTRYPOINT ["nerveseg-bids"]
CMD ["--help"]
