package harness

import (
	"runtime"
)

// MSALMemory is a manager like MSAL's.
type MSALMemory struct{ Document []byte }

func (m *MSALMemory) Unmarshal(b []byte) error { m.Document = b; return nil }
func (m *MSALMemory) Marshal() ([]byte, error) { return m.Document, nil }

// Allocated is how many bytes f allocates, all goroutines counted: more than it ever has at once.
func Allocated(f func()) int64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return int64(after.TotalAlloc - before.TotalAlloc)
}

// AllocationLimit is what one call may allocate, whatever it is answered. Without bounds those answers take a hundred
// times that.
const AllocationLimit = 48 << 20
