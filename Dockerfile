# genrec as an image: CPU by default, BUILD=cuda with torch's CUDA build (the host needs NVIDIA's container toolkit).
#   docker build -t genrec .                      docker build -t genrec:cuda --build-arg BUILD=cuda .
#   docker run --rm -it -v "$PWD:/runs" genrec run --config quickstart --yes        (add --gpus all for genrec:cuda)
#   docker run --rm -p 8000:8000 -e GENREC_API_KEY=... -v "$PWD:/runs" genrec serve --run.dir outputs/quickstart --host 0.0.0.0
# Runs are written below /runs, by user 1000; another user: --user "$(id -u):$(id -g)".
ARG BUILD=cpu

FROM python:3.11-slim-bookworm AS base
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PYTHONUNBUFFERED=1
COPY requirements.txt /opt/genrec/

FROM base AS torch-cpu
RUN pip install --index-url https://download.pytorch.org/whl/cpu "$(grep '^torch==' /opt/genrec/requirements.txt)"

FROM base AS torch-cuda
ENV NVIDIA_VISIBLE_DEVICES=all NVIDIA_DRIVER_CAPABILITIES=compute,utility
RUN pip install "$(grep '^torch==' /opt/genrec/requirements.txt)"

FROM torch-${BUILD}
RUN pip install -r /opt/genrec/requirements.txt
COPY . /opt/genrec/
RUN pip install '/opt/genrec[serve]' && useradd --uid 1000 --create-home genrec && install -d -m 1777 /runs
USER genrec
# Any user may write here, so that --user works: caches of models and fonts are kept with the runs.
ENV HOME=/runs
WORKDIR /runs
ENTRYPOINT ["genrec"]
CMD ["--help"]
