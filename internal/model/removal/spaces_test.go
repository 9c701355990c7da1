package removal

// spaces are what is explored: one user, and in each space another few of the disturbances, so that all orders of
// them can be visited. Their union is what is claimed.
var spaces = map[string]Bounds{
	"plain":                 {Instances: 2, SignIns: 2, SignOuts: 1, Refreshes: 1},
	"three instances":       {Instances: 3, SignIns: 2, SignOuts: 1},
	"two sign-outs":         {Instances: 2, SignIns: 3, SignOuts: 2},
	"rotation, lease ends":  {Instances: 2, SignIns: 2, SignOuts: 1, Refreshes: 2, Rotate: true, LeaseEnds: true},
	"late sign-outs":        {Instances: 2, SignIns: 2, SignOuts: 1, Late: true, Ticks: 2},
	"cut off":               {Instances: 2, SignIns: 2, SignOuts: 1, Refreshes: 1, Cuts: 1},
	"declined":              {Instances: 2, SignIns: 2, SignOuts: 1, Refreshes: 1, Cuts: 1, Declined: true},
	"declined, nobody else": {Instances: 2, SignIns: 1, SignOuts: 1, Refreshes: 1, Cuts: 1, Declined: true, Nobody: true},
	"away":                  {Instances: 2, SignIns: 1, SignOuts: 1, Refreshes: 1, Cuts: 1, Aging: true},
	"away, declined":        {Instances: 2, SignIns: 2, SignOuts: 1, Cuts: 1, Aging: true, Declined: true},
	"total loss":            {Instances: 2, SignIns: 2, SignOuts: 1, Cuts: 1, Loss: true},
	"loss and eviction":     {Instances: 2, SignIns: 2, SignOuts: 1, Refreshes: 1, Loss: true, Evict: true},
	"eviction, crash":       {Instances: 2, SignIns: 2, SignOuts: 1, Evict: true, Crash: true},
	"slow looks":            {Instances: 2, SignIns: 2, SignOuts: 1, Refreshes: 1, SlowLooks: true},
	"slow looks, loss":      {Instances: 2, SignIns: 2, SignOuts: 1, SlowLooks: true, Loss: true},
	"answers":               {Instances: 2, SignIns: 1, SignOuts: 1, Answers: 1, Cuts: 1, Aging: true},
	"answers, crash":        {Instances: 2, SignIns: 1, SignOuts: 1, Answers: 1, Crash: true, Loss: true},
	"clocks":                {Instances: 2, SignIns: 2, SignOuts: 1, Cuts: 1, ClockError: 1},
	"clocks, two sign-outs": {Instances: 2, SignIns: 2, SignOuts: 2, ClockError: 1},
	"clocks two off":        {Instances: 2, SignIns: 2, SignOuts: 1, ClockError: 2},
	"clocks, late":          {Instances: 2, SignIns: 2, SignOuts: 1, Late: true, Ticks: 1, ClockError: 1},
	"a session ahead":       {Instances: 2, SignIns: 3, SignOuts: 1, Ahead: 4},
	"sessions ahead":        {Instances: 2, SignIns: 2, SignOuts: 2, Ahead: 6},
}

// large are those of more than 40,000 states, which make test-long visits.
var large = []string{
	"cut off", "declined", "late sign-outs", "loss and eviction", "rotation, lease ends", "slow looks", "two sign-outs",
}

// deep are explored with -model.deep.
var deep = map[string]Bounds{
	"away, a sign-in":            {Instances: 2, SignIns: 2, SignOuts: 1, Refreshes: 1, Cuts: 1, Aging: true},
	"three instances, refreshes": {Instances: 3, SignIns: 2, SignOuts: 1, Refreshes: 1},
	"eviction, crash, refreshes": {Instances: 2, SignIns: 2, SignOuts: 1, Refreshes: 1, Evict: true, Crash: true},
	"clocks far off":             {Instances: 2, SignIns: 2, SignOuts: 1, Cuts: 1, ClockError: 3, Nobody: true},
	"clocks farther off":         {Instances: 2, SignIns: 2, SignOuts: 1, Cuts: 1, ClockError: 5, Nobody: true},
	"two sign-outs, refreshes":   {Instances: 2, SignIns: 3, SignOuts: 2, Refreshes: 1},
	"rotation, cut off":          {Instances: 2, SignIns: 2, SignOuts: 1, Refreshes: 2, Rotate: true, Cuts: 1},
	"three instances, cut off":   {Instances: 3, SignIns: 2, SignOuts: 1, Cuts: 1},
	"late, refreshes, cut off":   {Instances: 2, SignIns: 2, SignOuts: 1, Refreshes: 1, Late: true, Ticks: 1, Cuts: 1},
	"cut off twice":              {Instances: 2, SignIns: 2, SignOuts: 1, Refreshes: 1, Cuts: 2},
	"away twice":                 {Instances: 2, SignIns: 2, SignOuts: 1, Refreshes: 1, Cuts: 2, Aging: true},
	"total loss, refreshes":      {Instances: 2, SignIns: 2, SignOuts: 1, Refreshes: 1, Cuts: 1, Loss: true},
	"two answers":                {Instances: 2, SignIns: 1, SignOuts: 2, Answers: 2, Cuts: 1},
	"rotation, crash": {
		Instances: 2, SignIns: 2, SignOuts: 1, Refreshes: 2, Rotate: true, Crash: true, LeaseEnds: true,
	},
	"declined, crash, loss": {Instances: 2, SignIns: 2, SignOuts: 1, Declined: true, Crash: true, Loss: true},
	"late, loss":            {Instances: 2, SignIns: 2, SignOuts: 1, Late: true, Loss: true},
	"three, late, crash":    {Instances: 3, SignIns: 2, SignOuts: 1, Late: true, Crash: true},
	"two sign-outs, late":   {Instances: 2, SignIns: 2, SignOuts: 2, Late: true, Cuts: 1},
	"evictions, rotation": {
		Instances: 2, SignIns: 2, SignOuts: 1, Refreshes: 2, Rotate: true, Evict: true, Cuts: 1,
	},
	"slow looks, crash": {
		Instances: 2, SignIns: 2, SignOuts: 1, SlowLooks: true, Crash: true, Evict: true, Cuts: 1,
	},
}
