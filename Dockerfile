FROM golang:1.26 AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
ARG VERSION=dev
RUN CGO_ENABLED=0 go build -trimpath -tags grpcnotrace -ldflags "-s -w -X main.version=${VERSION}" -o /waxseal ./cmd/waxseal \
    && mkdir -m 0700 /data

# Nothing but the program, the certificate authorities that it checks a store's TLS against, and its data directory.
FROM scratch
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY --from=build --chown=65532:65532 /data /data
COPY --from=build /waxseal /usr/local/bin/waxseal
USER 65532:65532
# The admin endpoint stays on the container's loopback; set WAXSEAL_ADMIN_LISTEN to let a Prometheus in.
ENV WAXSEAL_DATA_DIR=/data WAXSEAL_LISTEN=0.0.0.0:9800 WAXSEAL_KMS_LISTEN=0.0.0.0:9801
VOLUME /data
EXPOSE 9800 9801
HEALTHCHECK --interval=10s --timeout=6s --start-period=20s CMD ["/usr/local/bin/waxseal", "healthcheck"]
ENTRYPOINT ["/usr/local/bin/waxseal"]
CMD ["serve"]
