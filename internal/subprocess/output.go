package subprocess

import (
	"bytes"
	"io"
	"sync"
)

// inbox takes a child's output in and keeps its lines until they are received.
type inbox struct {
	mu      sync.Mutex
	lines   [][]byte
	partial []byte
	arrived chan struct{} // has an element when a line came
}

func (b *inbox) Write(text []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	whole, rest, found := cutLast(text)
	if !found {
		b.partial = append(b.partial, text...)
		return len(text), nil
	}
	for line := range bytes.SplitSeq(append(b.partial, whole...), []byte{'\n'}) {
		b.lines = append(b.lines, line)
	}
	b.partial = bytes.Clone(rest)
	select {
	case b.arrived <- struct{}{}:
	default:
	}
	return len(text), nil
}

// cutLast cuts text at its last end of a line.
func cutLast(text []byte) (whole, rest []byte, found bool) {
	i := bytes.LastIndexByte(text, '\n')
	if i < 0 {
		return nil, nil, false
	}
	return text[:i], text[i+1:], true
}

func (b *inbox) take() ([]byte, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.lines) == 0 {
		return nil, false
	}
	line := b.lines[0]
	b.lines = b.lines[1:]
	return line, true
}

// logTail passes a log on and keeps its end.
type logTail struct {
	to   io.Writer
	mu   sync.Mutex
	tail []byte
}

func (l *logTail) Write(text []byte) (int, error) {
	const kept = 2 << 10
	l.mu.Lock()
	l.tail = append(l.tail, text...)
	l.tail = bytes.Clone(l.tail[max(0, len(l.tail)-kept):])
	l.mu.Unlock()
	return l.to.Write(text)
}

func (l *logTail) last() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return string(bytes.TrimSpace(l.tail))
}
