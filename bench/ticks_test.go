package bench

import "testing"

// An axis of a picture, which ends 1.4 times beyond what is on it, has two labels at least.
func TestAxesHaveLabels(t *testing.T) {
	for _, least := range []float64{0.011, 1, 219, 450} {
		for _, times := range []float64{4, 30, 5000} {
			labels := 0
			for _, tick := range (figures{}).Ticks(least, least*times) {
				if tick.Label != "" && tick.Value >= least && tick.Value <= least*times {
					labels++
				}
			}
			if labels < 2 || labels > 8 {
				t.Errorf("%v to %v: %d labels", least, least*times, labels)
			}
		}
	}
}
