package entratest

// maxSecrets bounds what Secrets remembers, to some 60 MB of tokens.
const maxSecrets = 1 << 15

// secretLog remembers the latest maxSecrets different secrets. It is guarded by Server.mu.
type secretLog struct {
	known map[string]struct{}
	order []string
}

func (l *secretLog) add(secret string) {
	if secret == "" {
		return
	}
	if _, ok := l.known[secret]; ok {
		return
	}
	if l.known == nil {
		l.known = map[string]struct{}{}
	}
	l.known[secret] = struct{}{}
	l.order = append(l.order, secret)
	if len(l.order) > maxSecrets {
		delete(l.known, l.order[0])
		l.order = l.order[1:]
	}
}

// issued remembers a secret that is about to leave the server.
func (s *Server) issued(secret string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.secrets.add(secret)
	return secret
}

// Secrets returns every secret issued, registered or received, oldest first: tokens of all kinds, codes, device codes,
// assertions, client secrets, passwords, code verifiers. A test looks for them where none may be: logs, errors,
// metrics, keys. Beyond 32,768 the oldest are forgotten.
func (s *Server) Secrets() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]string(nil), s.secrets.order...)
}
