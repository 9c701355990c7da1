package redistest

// ReadOnly makes the server refuse writes with READONLY, as a primary does that was demoted: it becomes the replica of
// an address where nobody listens. Reads go on.
func (s *Server) ReadOnly() { s.Do("REPLICAOF", "127.0.0.1", "1") }

// Writable ends ReadOnly.
func (s *Server) Writable() { s.Do("REPLICAOF", "NO", "ONE") }

// MaxMemory limits the server to so many bytes, with noeviction: what does not fit is refused with OOM. 0: no limit.
func (s *Server) MaxMemory(bytes int64) {
	s.Do("CONFIG", "SET", "maxmemory-policy", "noeviction")
	s.Do("CONFIG", "SET", "maxmemory", bytes)
}

// FillMemory makes the server full from now on, whatever it holds; MaxMemory(0) ends it.
func (s *Server) FillMemory() { s.MaxMemory(1) }

// FlushScripts empties the script cache, as a restart or a failover does: the next EVALSHA gets NOSCRIPT.
func (s *Server) FlushScripts() { s.Do("SCRIPT", "FLUSH") }
