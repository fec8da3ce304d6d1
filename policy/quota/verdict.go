package quota

import "github.com/yumen-io/yumen/policy/limit"

// By is who has judged a request against a limit that nodes share.
type By uint8

// Who can have.
const (
	Nobody   By = iota // nobody yet: the store has to be asked, and the request to wait
	Store              // by what the store has granted, or said
	Own                // this node by its share, because the store cannot be reached
	Policy             // the setting for a store that cannot be reached: all or none
	Crowding           // the node counts as many keys as it may, or as many requests wait for the store: as if it could not be reached
)

var byWords = [...]string{Nobody: "nobody", Store: "store", Own: "local_share", Policy: "unreachable", Crowding: "crowded"}

// String returns the word of logs and metrics.
func (b By) String() string { return byWords[b] }

// Verdict is a decision, its numbers, and whose it is.
type Verdict struct {
	limit.Verdict
	By By
}
