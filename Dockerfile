# For a machine with an NVIDIA GPU: its driver and the NVIDIA container toolkit are all that the host needs, because the
# wheels of torch and DALI bring their own CUDA libraries.
#   docker build -t fastlt .
#   docker run --gpus all --ipc host -v "$PWD/data:/data" -v "$PWD/runs:/runs" fastlt demo

# The operators are compiled where there is nvcc, into a wheel that fits every Python; older glibc, so that it runs below.
FROM nvidia/cuda:13.0.1-devel-ubuntu22.04 AS build
RUN apt-get update && apt-get install -y --no-install-recommends g++ python3-pip
WORKDIR /opt/fastlt
COPY . .
RUN FASTLT_CUDA=1 pip wheel --no-deps --wheel-dir /wheels --extra-index-url https://download.pytorch.org/whl/cpu .

FROM python:3.12-slim
COPY --from=build /wheels /wheels
RUN pip install --no-cache-dir "$(ls /wheels/fastlt-*.whl)[weights]"

# Where runs/ and data/ are folders of the host.
WORKDIR /
ENTRYPOINT ["fastlt"]
