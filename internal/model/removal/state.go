package removal

// Times are of Redis's clock, 0 for none. It moves on with every event that is given a time, and by ticks.
type micros = int8

// set is a set of sign-ins and answers, by their numbers.
type set uint8

func only(number int8) set         { return 1 << uint(number) }
func (s set) has(number int8) bool { return s&only(number) != 0 }

const (
	// maxInstances there may be.
	maxInstances = 3
	// maxSignIns there may be, with the one that is there at the start. They are numbered from 1 in the order of
	// asking.
	maxSignIns = 3
	// answers are numbered from here.
	firstAnswer = maxSignIns + 1
)

// mark is a tombstone: what began before t is gone. written is when Redis took the last sign-out that is merged
// into it, or t where that is an estimate.
type mark struct{ t, written micros }

// merge is of two marks of one partition.
func merge(a, b mark) mark {
	return mark{max(a.t, b.t), max(a.written, b.written)}
}

// token is a user's refresh token: the one field of the record. signIn 0: none.
type token struct {
	signIn  int8
	use     int8 // how often it was refreshed
	session micros
	stamp   micros
	drawn   micros // the Redis time that was drawn for its session, until Redis has taken it; 0: an estimate, or a refresh
	aged    bool   // not confirmed for a tombstone's life
}

// answer is one of an app or on behalf of the user, kept under a key of its own. number 0: none.
type answer struct {
	number int8
	asked  micros
}

type phase int8

const (
	idle       phase = iota
	refreshing       // the look is done, the lease is taken
	refreshed        // Entra ID has answered
)

// signOut is one that an instance was asked for.
type signOut struct {
	state   int8   // none, trying or waiting
	t       micros // of asking
	least   micros // one more than what the caller holds or has given
	asked   micros // the estimate at asking, which the window is counted from
	at      micros // when that was by Redis's clock
	removes set
	near    set // of these, what is removed for certain only if Redis gives T: it was asked for too near for an estimate
}

const (
	none int8 = iota
	trying
	waiting
)

// reply is that of a look, on its way back.
type reply struct {
	underway bool
	record   token
	mark     mark
	knows    set
}

// instance is a process.
type instance struct {
	cutOff    bool
	known     mark   // what it knows of the tombstone; of its own sign-out under way, out knows
	latest    micros // the latest time of Redis that it knows
	issued    micros // the latest session that it has given
	held      token
	confirmed bool  // Redis had it
	msal      token // in MSAL's memory alone
	waits     token // to be written
	signing   token // of a sign-in that is sent
	phase     phase // of a refresh
	flow      token // its token
	answer    answer
	asking    answer // an answer that was asked for
	out       signOut
	look      reply

	message mark // one that was sent to it and has not come; a lost one never comes
	told    set  // what that message is about

	knows set // what it knows to be removed: the truth of known
}

// State is that of the fleet, and beside it what is true.
type State struct {
	now micros

	// In Redis.
	record    token
	tombstone mark
	answer    answer
	knows     set // what was removed from it, as far as it has not lost that

	holder    int8 // of the user's lease, from 1
	instances [maxInstances]instance
	late      signOut // a try that was given up, and is on its way to Redis

	// What is true of sign-ins and answers.
	signIns, answers int8
	uses             [maxSignIns + 1]int8
	sessions         [maxSignIns + 1]micros
	asked            [firstAnswer + 3]micros
	answered         set
	drawn            set    // by Redis's clock, not an estimate
	dead             set    // asked for before a sign-out
	either           set    // asked for while one was under way, or too near to one for the clocks: both are right
	removed          set    // dead by a sign-out that has reached Redis
	excused          set    // whose loss has another cause than a sign-out
	lastSignOut      micros // when it was asked for
	lastEstimated    micros // and the last whose T is an estimate

	// How much of each disturbance there was.
	ticks, signOuts, refreshes, cuts              int8
	lost, evicted, aged, crashed, ended, wentBack bool
}

// start is a user who has signed in, and every instance holds the token.
func start(b Bounds) State {
	t := token{signIn: 1, session: 2 + b.Ahead, stamp: 2}
	s := State{now: 3, record: t, signIns: 1, answered: only(1), drawn: only(1)}
	s.sessions[1] = t.session
	if b.Nobody {
		t, s = token{}, State{now: 3}
	}
	for i := range int(b.Instances) {
		s.instances[i] = instance{held: t, confirmed: !b.Nobody, latest: max(t.session, 2)}
	}
	return s
}
