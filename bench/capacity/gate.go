package main

import "time"

// What an instance does that has no token, or one that is due, and what it does to forget one.

// take is give with MSAL's Export, which stores the token. One that takes the place of one that is not due is
// announced.
func (s *simulation) take(in *instance, token int) {
	replaces, sent := in.token > 0 && in.token != token && s.now < s.tokens[in.token], s.now
	s.give(in, token)
	s.ask(store, func() {
		s.write(in, token, sent)
		if replaces {
			s.ask(announce, func() { s.announced++ })
		}
		s.end(in)
	})
	s.leave(in)
}

// write writes a token. Who finds that another has written before does not know what the record is now, and looks at
// the next call.
func (s *simulation) write(in *instance, token int, sent time.Duration) {
	if in.checked = sent; s.version != in.version {
		in.checked = never
	}
	if token > s.record {
		s.record = token
		s.version++
	}
	in.version = s.version
}

// look is the gate's first one, of a caller who has no token.
func (s *simulation) look(in *instance) {
	s.ask(look, func() {
		if s.answer > 0 {
			s.take(in, s.answer)
			return
		}
		s.try(in)
	})
}

func (s *simulation) try(in *instance) {
	s.ask(lease, func() {
		if s.held {
			s.wait(in)
			return
		}
		s.held = true
		s.ask(look, func() {
			if s.answer > 0 {
				s.take(in, s.answer)
				s.free()
				return
			}
			s.request(func(token int) {
				s.take(in, token) // as it is kept: nobody waits for that
				s.keep(token)
			})
		})
	})
}

// request is a token request.
func (s *simulation) request(then func(token int)) {
	s.second().requests++
	asked := s.now
	s.at(s.now+s.Entra, func() {
		s.tokens = append(s.tokens, asked+s.Fleet.due())
		then(len(s.tokens) - 1)
	})
}

// keep keeps an answer and gives back the lease.
func (s *simulation) keep(token int) {
	s.ask(enlist, func() {
		s.ask(keep, func() {
			s.answer = max(s.answer, token)
			s.free()
		})
	})
}

func (s *simulation) free() {
	s.ask(release, func() {
		s.held = false
		s.released++
		s.second().delivered += s.listening
		for i := range s.instances {
			if in := &s.instances[i]; in.idle { // who is looking does so once more
				s.again(in)
			}
		}
	})
}

// wait waits for the holder of the lease: first it subscribes and looks once more, then it is woken or looks by itself.
func (s *simulation) wait(in *instance) {
	if !in.waits {
		s.ask(subscribe, func() {
			in.waits, in.heard = true, s.released
			s.listening++
			s.second().subscribed = max(s.second().subscribed, s.listening)
			s.again(in)
		})
		return
	}
	if in.heard < s.released {
		s.again(in)
		return
	}
	in.idle = true
	in.turn++
	mine := in.turn
	often := s.LockTTL / 20
	s.at(s.now+often+time.Duration(s.rng.Int64N(int64(often))), func() {
		if in.idle && in.turn == mine {
			s.again(in)
		}
	})
}

func (s *simulation) again(in *instance) {
	in.idle, in.heard = false, s.released
	s.ask(look, func() {
		if s.answer > 0 {
			s.take(in, s.answer)
			return
		}
		s.try(in)
	})
}

// leave ends an instance's wait.
func (s *simulation) leave(in *instance) {
	if in.waits {
		in.waits = false
		s.listening--
		s.ask(unsubscribe, func() {})
	}
}

// refresh is the gate's answer where MSAL's token is due: the new one, or the old one while one instance asks.
func (s *simulation) refresh(in *instance) {
	if in.recalls > s.now && s.answer > in.token {
		s.take(in, s.answer)
		return
	}
	s.ask(look, func() {
		switch {
		case s.answer > in.token:
			s.take(in, s.answer)
			return
		case s.answer == 0: // removed meanwhile
			s.try(in)
			return
		}
		in.due = s.now + time.Duration(soonest+s.rng.Int64N(soonSpread))*time.Second
		s.end(in)
		if !in.refreshing {
			in.refreshing = true
			s.ahead(in)
		}
	})
}

// ahead is a refresh in the background.
func (s *simulation) ahead(in *instance) {
	old := s.answer
	s.ask(look, func() {
		if s.answer != old {
			in.refreshing = false
			return
		}
		s.ask(lease, func() {
			if s.held {
				in.refreshing = false
				return
			}
			s.held = true
			s.ask(look, func() {
				if s.answer != old {
					in.refreshing = false
					s.free()
					return
				}
				s.request(func(token int) {
					in.recalls, in.refreshing = s.now+s.LocalTTL, false
					s.keep(token)
				})
			})
		})
	})
}

// removal is what an instance does that forgets an app's tokens; the others hear of it.
func (s *simulation) removal() {
	s.ask(announce, func() {
		s.announced++
		s.ask(remove, func() {
			s.record, s.version = 0, 0
			s.ask(forget, func() {
				s.answer = 0
				s.ask(unlist, func() {
					s.ask(publish, func() {
						s.second().delivered += len(s.instances)
						for i := range s.instances {
							in := &s.instances[i]
							in.token, in.version, in.recalls, in.checked = 0, 0, 0, never
							s.next(in)
						}
					})
				})
			})
		})
	})
}
