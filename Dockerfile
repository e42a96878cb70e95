# A slim image for the CPU: docker build -t verdiff-bench .
# docker run --rm -v "$PWD:/work" --user "$(id -u):$(id -g)" verdiff-bench run --methods unet,fcn
FROM python:3.11-slim

# git: a result keeps the revision of the code that made it.
RUN apt-get update \
    && apt-get install --yes --no-install-recommends git \
    && rm -rf /var/lib/apt/lists/*

WORKDIR /opt/verdiff-bench
COPY . .

# From PyTorch's own index pip takes the build for the CPU: its version, +cpu, counts as the higher one.
RUN pip install --no-cache-dir -c constraints.txt \
        --extra-index-url https://download.pytorch.org/whl/cpu -e '.[train]' \
    && git config --system --add safe.directory /opt/verdiff-bench

# Results, reports and the cache of prepared data lie in the folder that is mounted here.
WORKDIR /work
ENV BENCH_CACHE=/work/.cache
ENTRYPOINT ["bench"]
