package accessor

import (
	"reflect"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"unsafe"
	"weak"
)

// managers finds what is known of a manager by its address, and forgets it when MSAL's client is gone.
type managers struct {
	latest atomic.Pointer[manager] // most processes have one client
	mu     sync.RWMutex
	known  map[uintptr]*manager
}

func newManagers() *managers {
	return &managers{known: map[uintptr]*manager{}}
}

// of is what is known of the manager behind MSAL's interface value. One that is no pointer has no identity: nothing is
// known of it at any call.
func (ms *managers) of(object any) *manager {
	v := reflect.ValueOf(object)
	if v.Kind() != reflect.Pointer || v.IsNil() {
		return newManager()
	}
	address := v.Pointer()
	m := ms.latest.Load()
	if m == nil || m.address != address {
		ms.mu.RLock()
		m = ms.known[address]
		ms.mu.RUnlock()
	}
	// An object at the address of one that is gone is another object: the weak pointer of the old one is nil.
	if m != nil && m.object.Value() != nil {
		return m
	}
	return ms.add(object, v)
}

// msalModule is where MSAL's managers come from.
const msalModule = "github.com/AzureAD/microsoft-authentication-library-for-go/"

func (ms *managers) add(object any, v reflect.Value) *manager {
	if v.Type().Elem().Size() == 0 {
		return newManager()
	}
	address := v.Pointer()
	ms.mu.Lock()
	defer ms.mu.Unlock()
	if m := ms.known[address]; m != nil && m.object.Value() != nil {
		return m
	}
	first := (*byte)(unsafe.Pointer(v.Pointer())) //nolint:govet // v keeps the object where it is
	m := newManager()
	m.address, m.object = address, weak.Make(first)
	m.ofMSAL = strings.HasPrefix(v.Type().Elem().PkgPath(), msalModule)
	ms.known[address] = m
	ms.latest.Store(m)
	runtime.AddCleanup(first, func(address uintptr) { ms.forget(address) }, address)
	runtime.KeepAlive(object)
	return m
}

func (ms *managers) forget(address uintptr) {
	ms.mu.Lock()
	defer ms.mu.Unlock()
	m := ms.known[address]
	if m == nil || m.object.Value() != nil {
		return
	}
	delete(ms.known, address)
	ms.latest.CompareAndSwap(m, nil)
}
