package gate

import (
	"strconv"

	"github.com/msal-redis/msal-redis-go/internal/layout"
)

// id is the hashed name of a partition or of a request identity.
type id = layout.ID

func formatInt(n int64) string { return strconv.FormatInt(n, 10) }
