# docker build -t cfbd .                              for the CPU
# docker build -t cfbd:cuda --build-arg DEVICE=cuda . for NVIDIA GPUs (run it with --gpus all)
# docker run --rm -p 127.0.0.1:8501:8501 -v "$PWD/audits:/audits" -v /my/pairs:/data:ro cfbd
#
# Any other command goes to `cfbd`: `docker run --rm -v "$PWD/audits:/audits" cfbd demo --audit /audits/demo`.
# Files in /audits belong to uid 1000; on Linux, `--user "$(id -u):$(id -g)"` makes them yours.

FROM python:3.11-slim-bookworm AS packages
ARG DEVICE=cpu
# PyPI's torch brings CUDA along (several GB); the CPU's wheels come from PyTorch's own index.
ARG TORCH_CPU_INDEX=https://download.pytorch.org/whl/cpu
# Where everything else comes from, for those who have a mirror; unset, it is pip's default.
ARG PIP_INDEX_URL
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
RUN python -m venv /opt/venv
ENV PATH=/opt/venv/bin:$PATH
WORKDIR /build
COPY requirements.txt ./
RUN case "$DEVICE" in \
        cpu) grep -E '^torch(vision)?==' requirements.txt > torch.txt \
             && pip install --no-deps --index-url "$TORCH_CPU_INDEX" -r torch.txt ;; \
        cuda) ;; \
        *) echo "DEVICE=$DEVICE: give cpu or cuda" >&2; exit 1 ;; \
    esac
RUN pip install -r requirements.txt
COPY pyproject.toml setup.py README.md LICENSE ./
COPY assets ./assets
COPY cfbd_core ./cfbd_core
COPY app ./app
# The wheel: all that the tool needs, the encoder's weights as well, lies in the environment that the image gets.
RUN pip install --no-deps --no-build-isolation .

FROM python:3.11-slim-bookworm
# Streamlit, numba and the hub write into their caches, whatever user the container runs as.
ENV PATH=/opt/venv/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    HOME=/home/cfbd \
    USER=cfbd \
    HF_HOME=/home/cfbd/.cache/huggingface \
    NUMBA_CACHE_DIR=/home/cfbd/.cache/numba \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility
RUN useradd --uid 1000 --create-home cfbd \
    && install -d -m 1777 /audits /home/cfbd /home/cfbd/.cache \
        /home/cfbd/.cache/huggingface /home/cfbd/.cache/numba \
    && install -d /data
COPY --from=packages /opt/venv /opt/venv
# By number, so that an engine can tell that it is not root's.
USER 1000
WORKDIR /audits
VOLUME /audits
EXPOSE 8501
# A job that is interrupted stops in good order and can be resumed.
STOPSIGNAL SIGINT
HEALTHCHECK --interval=30s --timeout=5s --start-period=60s CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8501/_stcore/health', timeout=4)"]
ENTRYPOINT ["cfbd"]
CMD ["app", "--address", "0.0.0.0", "--port", "8501", "--no-browser", "--root", "/audits", "--root", "/data", "--allow-host", "localhost", "--allow-host", "127.0.0.1"]
