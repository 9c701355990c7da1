package redisop

import (
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/msal-redis/msal-redis-go/internal/redistime"
)

// Reply is a script's answer: Redis's clock, then strings and whole numbers; a list among them counts as its members.
type Reply struct {
	Time   redistime.Time
	Sent   time.Duration // when the script was sent, since the process's start
	Fields []string
}

func parseReply(values []any) (Reply, error) {
	if len(values) == 0 {
		return Reply{}, ErrReply
	}
	fields := make([]string, 0, len(values))
	for i, v := range values {
		switch v := v.(type) {
		case int64:
			fields = append(fields, strconv.FormatInt(v, 10))
		case string:
			fields = append(fields, v)
		case []any:
			fields = slices.Grow(fields, len(v))
			for _, member := range v {
				text, ok := member.(string)
				if !ok || i == 0 {
					return Reply{}, ErrReply
				}
				fields = append(fields, text)
			}
		default:
			return Reply{}, ErrReply
		}
	}
	if len(fields) == 0 {
		return Reply{}, ErrReply
	}
	us, err := strconv.ParseInt(fields[0], 10, 64)
	if err != nil {
		return Reply{}, ErrReply
	}
	return Reply{Time: redistime.Time(us), Fields: fields[1:]}, nil
}

// Number is field i as a number; -1 where it is not one.
func (r Reply) Number(i int) int64 {
	if i >= len(r.Fields) {
		return -1
	}
	n, err := strconv.ParseInt(r.Fields[i], 10, 64)
	if err != nil {
		return -1
	}
	return n
}

// UnlessOfAnotherType is the error of a command, unless its key is another program's: then nothing of ours is there.
func UnlessOfAnotherType(err error) error {
	if err != nil && strings.HasPrefix(err.Error(), "WRONGTYPE ") {
		return nil
	}
	return err
}
