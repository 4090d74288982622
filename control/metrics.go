package control

import (
	"context"
	"errors"
	"log/slog"
	"net/http"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"golang.org/x/sync/errgroup"

	"farshore/control/nodes"
)

// serveMetrics answers Prometheus until ctx is done, if the configuration asks for it.
func (s *server) serveMetrics(ctx context.Context) error {
	if s.config.Metrics == "" {
		return nil
	}
	listener, err := listen(ctx, s.config.Metrics)
	if err != nil {
		return err
	}
	all := prometheus.NewRegistry()
	all.MustRegister(s.temporal.Metrics, nodeMetrics{registry: s.registry, log: s.log})
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(all, promhttp.HandlerOpts{}))
	web := &http.Server{Handler: mux, ReadHeaderTimeout: headerTimeout}
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error {
		<-ctx.Done()
		return web.Close()
	})
	g.Go(func() error {
		if err := web.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			return err
		}
		return nil
	})
	return g.Wait()
}

// nodeMetrics tells how many nodes there are and how many speak.
type nodeMetrics struct {
	registry *nodes.Registry
	log      *slog.Logger
}

// Describe describes nothing: the labels are those of the nodes there are.
func (nodeMetrics) Describe(chan<- *prometheus.Desc) {}

// Collect counts the nodes.
func (m nodeMetrics) Collect(out chan<- prometheus.Metric) {
	list, err := m.registry.List()
	if err != nil {
		m.log.Error("the nodes could not be counted", "err", err)
		return
	}
	desc := prometheus.NewDesc("farshore_nodes", "Enrolled nodes, by role and by whether they are connected.", []string{"role", "connected"}, nil)
	count := map[[2]string]float64{}
	for _, n := range list {
		connected := "false"
		if n.Connected {
			connected = "true"
		}
		count[[2]string{string(n.Identity.Role), connected}]++
	}
	for labels, n := range count {
		out <- prometheus.MustNewConstMetric(desc, prometheus.GaugeValue, n, labels[0], labels[1])
	}
}
