# syntax=docker/dockerfile:1

FROM rust:1.95-slim-bookworm AS build
WORKDIR /build

# The dependencies are a layer of their own, built with empty sources: it is built again when the manifest changes, and
# not when the program does. Benchmarks that the manifest names must exist, but are not built.
COPY Cargo.toml Cargo.lock ./
RUN mkdir -p src benches \
 && echo 'fn main() {}' > src/main.rs \
 && touch src/lib.rs \
 && sed -n '/^\[\[bench\]\]/,/^name/s/^name *= *"\(.*\)"/\1/p' Cargo.toml \
    | while read -r name; do echo 'fn main() {}' > "benches/$name.rs"; done \
 && cargo build --profile dist --all-features --locked

COPY config config
COPY src src
# What `spendwatch_build_info` says: `docker build --build-arg REVISION="$(git rev-parse --short HEAD)"`.
ARG REVISION=unknown
# Cargo judges by time stamps, and those of the context may be older than the empty sources.
RUN touch src/main.rs src/lib.rs \
 && SPENDWATCH_REVISION="$REVISION" cargo build --profile dist --all-features --locked

FROM debian:bookworm-slim
RUN apt-get update \
 && apt-get install --yes --no-install-recommends ca-certificates \
 && rm -rf /var/lib/apt/lists/* \
 && useradd --system --uid 10001 --user-group --home-dir /var/lib/spendwatch --create-home --shell /usr/sbin/nologin spendwatch \
 && chmod 0700 /var/lib/spendwatch
COPY --from=build /build/target/dist/spendwatch /usr/local/bin/spendwatch

# On all addresses: without a login only /metrics and the health paths are served there.
ENV SPENDWATCH__HTTP__LISTEN=0.0.0.0:9899 \
    SPENDWATCH__STORE__URL=sqlite:///var/lib/spendwatch/spendwatch.db
USER spendwatch
WORKDIR /var/lib/spendwatch
VOLUME /var/lib/spendwatch
EXPOSE 9899
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=30s --timeout=5s --start-period=30s CMD ["spendwatch", "healthcheck"]
ENTRYPOINT ["spendwatch"]
CMD ["run"]
