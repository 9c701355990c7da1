# The fleet's worker (examples/worker), for docker-compose.yml. The library itself needs no image.
FROM golang:1.26 AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
# -buildvcs=false: a copied .git belongs to somebody else, and git refuses to read it.
RUN CGO_ENABLED=0 go build -trimpath -buildvcs=false -o /out/worker ./examples/worker

FROM gcr.io/distroless/static-debian12:nonroot
COPY --from=build /out/worker /worker
ENTRYPOINT ["/worker"]
