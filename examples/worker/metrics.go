package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	otelprometheus "go.opentelemetry.io/otel/exporters/prometheus"
	"go.opentelemetry.io/otel/sdk/metric"
)

// metrics is where Prometheus reads what the Cache, the Go runtime and the process count.
type metrics struct {
	provider *metric.MeterProvider
	address  net.Addr
	server   *http.Server
	ended    chan error
}

func serveMetrics(address string) (*metrics, error) {
	registry := prometheus.NewRegistry()
	registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	exporter, err := otelprometheus.New(otelprometheus.WithRegisterer(registry), otelprometheus.WithoutScopeInfo())
	if err != nil {
		return nil, fmt.Errorf("--metrics: %w", err)
	}
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return nil, fmt.Errorf("--metrics: %w", err)
	}
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(registry, promhttp.HandlerOpts{}))
	m := &metrics{
		provider: metric.NewMeterProvider(metric.WithReader(exporter)),
		address:  listener.Addr(),
		server:   &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second},
		ended:    make(chan error, 1),
	}
	go func() { m.ended <- m.server.Serve(listener) }()
	return m, nil
}

// Close ends the server, also where a scrape hangs.
func (m *metrics) Close() error {
	err := m.server.Close()
	<-m.ended
	return errors.Join(err, m.provider.Shutdown(context.Background()))
}
