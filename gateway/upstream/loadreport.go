package upstream

import (
	"github.com/yumen-io/yumen/engine/message"
	"github.com/yumen-io/yumen/policy/balance"
	"github.com/yumen-io/yumen/policy/orca"
)

// ReadLoad reads what the endpoint reports of its load, in the fields of an answer's head or in its trailers, which may be nil,
// and takes the report out of them unless the cluster keeps reports. Where the cluster does not balance by load, nothing is
// looked for. An answer has one report: what follows the first is taken out and not read.
func (l *Given) ReadLoad(f *message.Fields) {
	spec := l.endpoint.cluster.spec
	if f == nil || spec.Balance.Algorithm != balance.LoadAware {
		return
	}
	read := false
	list := f.All()
	for i := range list {
		field := &list[i]
		if field.ID != message.OtherField || field.Gone {
			continue
		}
		binary := false
		switch name := f.Bytes(field.Name); {
		case foldsTo(name, orca.FieldBinary):
			binary = true
		case !foldsTo(name, orca.Field):
			continue
		}
		if !read {
			read = true
			l.reported(f.Bytes(field.Value), binary)
		}
		field.Gone = field.Gone || !spec.KeepReports
	}
}

func (l *Given) reported(value []byte, binary bool) {
	parse := orca.Parse
	if binary {
		parse = orca.ParseBinary
	}
	r, err := parse(value)
	if err != nil {
		l.set.Malformed(l.index)
		return
	}
	l.set.Reported(l.index, l.endpoint.cluster.w.Loop.Now(), balance.Report{CPU: r.Busy(), Memory: r.Memory, Latency: r.Latency()})
}

// foldsTo compares a field's name with one in lower case.
func foldsTo(name []byte, lower string) bool {
	if len(name) != len(lower) {
		return false
	}
	for i := range name {
		if message.Lower(name[i]) != lower[i] {
			return false
		}
	}
	return true
}
