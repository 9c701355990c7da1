package main

// spilled are those of the texts in which a secret stands, up to it. The texts are what the workers wrote: the
// library's log, down to its debug lines, and the errors of their calls.
func spilled(texts map[string]bool, secrets []string) (out []string) {
	const head = 16 // no text that is no secret begins with so many characters of one
	heads := map[string]bool{}
	for _, s := range secrets {
		if len(s) >= head {
			heads[s[:head]] = true
		}
	}
	for text := range texts {
		for i := 0; i+head <= len(text); i++ {
			if heads[text[i:i+head]] {
				out = append(out, text[:i]+"(secret)") // also where it is cut off there
				break
			}
		}
	}
	return out
}
