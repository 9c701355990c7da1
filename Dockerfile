# The fleet's worker (examples/worker), for docker-compose.yml. The library itself needs no image.
FROM golang:1.26 AS build
WORKDIR /src
COPY go.work go.mod go.sum ./
COPY bench/go.mod bench/go.sum bench/
COPY cmd/msalredis/go.mod cmd/msalredis/go.sum cmd/msalredis/
COPY examples/go.mod examples/go.sum examples/
COPY msalredisotel/go.mod msalredisotel/go.sum msalredisotel/
COPY tests/go.mod tests/go.sum tests/
RUN go mod download
COPY . .
# -buildvcs=false: a copied .git belongs to somebody else, and git refuses to read it.
RUN CGO_ENABLED=0 go build -trimpath -buildvcs=false -o /out/worker ./examples/worker

FROM gcr.io/distroless/static-debian12:nonroot
COPY --from=build /out/worker /worker
ENTRYPOINT ["/worker"]
