# Builds with Docker, Podman and Buildah. Therefore, the base images have full names, and the file needs no newer Dockerfile
# syntax than each builder's own. Images are pinned by digest; tags are for information. To update an image, look up the
# digest of its tag: `docker buildx imagetools inspect docker.io/library/debian:bookworm-slim`.

FROM docker.io/library/rust:1.95-slim-bookworm@sha256:d7482085ff5b415f84dba5647ae71606650bdef00db7aeb69f4b3d170c3e4082 AS manifests
COPY crates crates
RUN find crates -type f ! -name Cargo.toml -delete

FROM docker.io/library/rust:1.95-slim-bookworm@sha256:d7482085ff5b415f84dba5647ae71606650bdef00db7aeb69f4b3d170c3e4082 AS build
WORKDIR /build
# The allocator needs make.
RUN apt-get update && apt-get install --yes --no-install-recommends make && rm -rf /var/lib/apt/lists/*

# The dependencies are a separate layer, built with empty sources. It is rebuilt if a manifest changes, but not if only
# the program does. Benchmarks in the manifest must exist, but are not built.
COPY .cargo .cargo
COPY Cargo.toml Cargo.lock ./
COPY --from=manifests crates crates
RUN mkdir -p src benches \
 && printf '//! Empty.\n\nfn main() {}\n' > src/main.rs \
 && echo '//! Empty.' > src/lib.rs \
 && for member in crates/*; do mkdir -p "$member/src" && echo '//! Empty.' > "$member/src/lib.rs"; done \
 && sed -n '/^\[\[bench\]\]/,/^name/s/^name *= *"\(.*\)"/\1/p' Cargo.toml \
    | while read -r name; do echo 'fn main() {}' > "benches/$name.rs"; done \
 && cargo build --profile dist --all-features --locked

COPY config config
COPY crates crates
COPY src src
# Revision in `spendwatch_build_info`: `docker build --build-arg REVISION="$(git rev-parse --short HEAD)"`.
ARG REVISION=unknown
# Cargo compares time stamps, and those of the context may be older than the empty sources.
RUN touch src/main.rs src/lib.rs crates/*/src/lib.rs \
 && SPENDWATCH_REVISION="$REVISION" cargo build --profile dist --all-features --locked

FROM docker.io/library/debian:bookworm-slim@sha256:88200866dfff7ea7f5cbcb6ec7c8a701889efe6fe859fe64d6990e4b07ea4171
RUN apt-get update \
 && apt-get install --yes --no-install-recommends ca-certificates \
 && rm -rf /var/lib/apt/lists/* \
 && groupadd --gid 10001 spendwatch \
 && useradd --uid 10001 --gid spendwatch --no-create-home --home-dir /var/lib/spendwatch --shell /usr/sbin/nologin spendwatch \
 && install -d -o spendwatch -g spendwatch -m 0700 /var/lib/spendwatch
COPY --from=build /build/target/dist/spendwatch /usr/local/bin/spendwatch

# Listens on all addresses, where only /metrics and the health paths are served without a login. Both variables override
# a mounted /etc/spendwatch/spendwatch.toml.
ENV SPENDWATCH__HTTP__LISTEN=0.0.0.0:9899 \
    SPENDWATCH__STORE__URL=sqlite:///var/lib/spendwatch/spendwatch.db
# A number, so that Kubernetes can verify that it is not root.
USER 10001:10001
WORKDIR /var/lib/spendwatch
VOLUME /var/lib/spendwatch
EXPOSE 9899
STOPSIGNAL SIGTERM
# Every failure is 1, because Docker reserves 2.
HEALTHCHECK --interval=30s --timeout=5s --start-period=30s CMD spendwatch healthcheck || exit 1
ENTRYPOINT ["spendwatch"]
CMD ["run"]
