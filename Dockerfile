# testwire as one static binary in an otherwise empty image:
#
#   docker build -t testwire .
#   go test -json ./... | docker run --rm -i --network host testwire pipe --format gotest
#
# State (the spool, file positions, attachments) is in /var/lib/testwire; mount a volume there to keep it.

FROM rust:1.95-alpine AS build
# The C compiler's headers, for the TLS library's assembler parts.
RUN apk add --no-cache ca-certificates musl-dev
WORKDIR /src
COPY . .
# Alpine's Rust builds for musl, which links statically unless told not to.
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/src/target \
    cargo build --release --locked --bin testwire \
    && install -D -s target/release/testwire /out/usr/bin/testwire \
    && install -d -m 1777 /out/tmp \
    && install -d -o 65532 -g 65532 -m 700 /out/var/lib/testwire \
    # A dynamic binary would not start in an empty image, a large one is a mistake: both end the build.
    && ! readelf -l /out/usr/bin/testwire | grep -q INTERP \
    && test "$(stat -c %s /out/usr/bin/testwire)" -lt 25000000

FROM scratch
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY --from=build /out/ /
ENV TESTWIRE_STATE_DIR=/var/lib/testwire
# A number, because the image has no user names.
USER 65532:65532
VOLUME /var/lib/testwire
ENTRYPOINT ["/usr/bin/testwire"]
CMD ["--help"]
