package standin

import (
	"encoding/json"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"
)

// JSON answers with a document.
func JSON(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json; odata.metadata=minimal")
	w.Header().Set("OData-Version", "4.0")
	_ = json.NewEncoder(w).Encode(v) // the client may have left
}

// Error answers with an error as OData has it.
func Error(w http.ResponseWriter, status int, code, message string) {
	w.Header().Set("Content-Type", "application/json; odata.metadata=minimal")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(map[string]any{"error": map[string]string{"code": code, "message": message}})
}

// Seconds is a wait as Retry-After has it: whole seconds, and not too few.
func Seconds(wait time.Duration) string {
	return strconv.FormatInt(int64((wait+time.Second-1)/time.Second), 10)
}

// Page is the part of all that a request is for, and the URL of what follows, "" at the end. A part has as many as the
// request prefers (odata.maxpagesize) or wants ($top), but most at most.
func Page[T any](r *http.Request, all []T, most int) (part []T, next string) {
	q := r.URL.Query()
	size := most
	if n, err := strconv.Atoi(q.Get("$top")); err == nil && n > 0 {
		size = min(size, n)
	}
	if n, err := strconv.Atoi(MaxPageSize(r)); err == nil && n > 0 {
		size = min(size, n)
	}
	from, _ := strconv.Atoi(q.Get("$skiptoken"))
	from = max(0, min(from, len(all)))
	to := min(from+size, len(all))
	if to < len(all) {
		q.Set("$skiptoken", strconv.Itoa(to))
		next = "https://" + r.Host + r.URL.Path + "?" + q.Encode()
	}
	return all[from:to], next
}

// MaxPageSize is the preference of that name, or "".
func MaxPageSize(r *http.Request) string {
	for _, preference := range strings.Split(r.Header.Get("Prefer"), ",") {
		if n, ok := strings.CutPrefix(strings.TrimSpace(preference), "odata.maxpagesize="); ok {
			return n
		}
	}
	return ""
}

// Limit is a service protection limit: so many requests are served, then everybody is refused until some time has
// passed since the first refusal. So what happens does not depend on how fast a machine is.
type Limit struct {
	Requests int
	Pause    time.Duration

	mu    sync.Mutex
	taken int
	until time.Time // of the refusals
}

// Take is how many requests are left after this one; or, where it is refused, how long that will go on.
func (l *Limit) Take() (left int, wait time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now()
	if !l.until.IsZero() && !now.Before(l.until) {
		l.taken, l.until = 0, time.Time{}
	}
	if l.taken < l.Requests {
		l.taken++
		return l.Requests - l.taken, 0
	}
	if l.until.IsZero() {
		l.until = now.Add(l.Pause)
	}
	return 0, l.until.Sub(now)
}
