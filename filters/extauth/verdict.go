package extauth

import (
	"strings"

	"github.com/yumen-io/yumen/engine/message"
	"github.com/yumen-io/yumen/gateway"
	"github.com/yumen-io/yumen/internal/mono"
	"github.com/yumen-io/yumen/policy/identity"
)

// says is what a service said.
type says uint8

const (
	yes says = iota
	no
	elsewhere   // the client shall go to another page
	nothing     // it could not be asked
	nonsense    // an answer that is neither
	nobodyAsked // shadow mode: too much is being asked
)

// verdict is what came of a question. Once it is given out it is frozen; loops do not share it.
type verdict struct {
	says    says
	status  int             // of the service's answer; 0: none
	fields  []value         // of the answer, that upstream and claims take
	changes []change        // of the upstream's request, in their order: what a service says by gRPC
	client  []gateway.Field // of the answer to the client
	body    []byte          // of a refusal; nil: the gateway's own words
	claims  []value         // by their names
	once    bool            // good for this request only
	until   mono.Time       // of one that is kept
}

// value is a field or a claim. Names are in lower case.
type value struct {
	name  string
	value []byte
}

// change is one of the service's changes of the request.
type change struct {
	name, value []byte
	do          doing
}

type doing uint8

const (
	remove doing = iota
	set
	add
	addIfAbsent
	setIfPresent
)

// Claim is for gateway.Claims.
func (v *verdict) Claim(name string) ([]byte, bool) { return find(v.claims, name) }

// field returns what the answer says in a field.
func (v *verdict) field(name string) ([]byte, bool) { return find(v.fields, name) }

func find(list []value, name string) ([]byte, bool) {
	for i := range list {
		if list[i].name == name {
			return list[i].value, true
		}
	}
	return nil, false
}

// size is about how much memory it takes.
func (v *verdict) size() int {
	n := len(v.body)
	for _, f := range v.fields {
		n += len(f.value)
	}
	for _, c := range v.changes {
		n += len(c.name) + len(c.value)
	}
	for _, c := range v.client {
		n += len(c.Name) + len(c.Value)
	}
	return n
}

// readHead makes a verdict of the head of an answer over HTTP.
func (f *Filter) readHead(h *message.Head) *verdict {
	v := &verdict{says: nonsense, status: h.Status}
	switch {
	case h.Status >= 200 && h.Status < 300:
		v.says = yes
		v.readFields(&h.Fields, f.takes)
		v.readClaims(f.spec.Claims)
		v.tell(&h.Fields, f.spec.ToClient)
	case h.Status == 401, h.Status == 403:
		v.says = no
		v.tell(&h.Fields, f.spec.RefusalHeaders)
	case f.spec.Redirects && isRedirect(h.Status) && h.Has(message.Location):
		v.says, v.once = elsewhere, true // to where is for this request
		v.tell(&h.Fields, f.spec.RefusalHeaders)
	}
	for i := range v.client {
		v.once = v.once || strings.EqualFold(v.client[i].Name, "set-cookie") // a session is one client's
	}
	return v
}

// isRedirect: RFC 9110 15.4.
func isRedirect(status int) bool {
	return status == 301 || status == 302 || status == 303 || status == 307 || status == 308
}

// readFields copies what is taken off the answer. Lines of one name are one value (RFC 9110 5.3). A value that not all servers read
// alike is as if it was not there.
func (v *verdict) readFields(h *message.Fields, names []string) {
	for _, name := range names {
		var all []byte
		n := 0
		for one, at := h.NextField(name, 0); at >= 0; one, at = h.NextField(name, at) {
			if n++; n > 1 {
				all = append(all, ", "...)
			}
			all = append(all, one...)
		}
		if n > 0 && identity.FieldValue(all) {
			v.fields = append(v.fields, value{name, all})
		}
	}
}

func (v *verdict) readClaims(claims []Claim) {
	for _, c := range claims {
		if text, ok := v.field(strings.ToLower(c.Field)); ok {
			v.claims = append(v.claims, value{c.Name, text})
		}
	}
}

// tell copies fields that the client is told, each line.
func (v *verdict) tell(h *message.Fields, names []string) {
	for _, name := range names {
		name = strings.ToLower(name)
		for one, at := h.NextField(name, 0); at >= 0; one, at = h.NextField(name, at) {
			v.client = append(v.client, gateway.Field{Name: name, Value: string(one)})
		}
	}
}

// takeBody notes a refusal's whole body and its type.
func (v *verdict) takeBody(body []byte, kind string) {
	if len(body) == 0 {
		return
	}
	v.body = body
	for i := range v.client {
		if strings.EqualFold(v.client[i].Name, "content-type") {
			return
		}
	}
	if kind == "" {
		kind = "text/plain; charset=utf-8"
	}
	v.client = append(v.client, gateway.Field{Name: "content-type", Value: kind})
}

// apply carries out the changes of a request's head.
func (v *verdict) apply(h *message.Head) {
	for i := range v.changes {
		c := &v.changes[i]
		_, there := h.Field(c.name)
		switch {
		case c.do == remove:
			h.RemoveField(c.name)
		case c.do == set, c.do == setIfPresent && there:
			h.SetField(c.name, c.value)
		case c.do == add, c.do == addIfAbsent && !there:
			h.Add(c.name, c.value)
		}
	}
}
