package config

import (
	"sync"

	"go.yaml.in/yaml/v3"
)

// ColourFilter marks requests at the edge.
type ColourFilter struct {
	Pos
	TraceID    *Colour // nil: off, as all of them
	Group      *ColourGroup
	UserID     *ColourUser
	DeviceType *ColourDevice
	Invalid    ColourInvalid
	Guard      GuardMode
}

func (v *ColourFilter) guardMode() GuardMode { return v.Guard }

// ColourInvalid is what becomes of a field that is accepted, and not of the right form.
type ColourInvalid string

// What can become of it.
const (
	ColourDrop   ColourInvalid = "drop"
	ColourRefuse ColourInvalid = "refuse"
)

// Colour is a field with an id.
type Colour struct {
	Header  string
	Accept  bool
	Pattern string // empty: what suits it
}

// ColourUser is the field with the user.
type ColourUser struct {
	Colour
	Claim string
}

// ColourDevice is the field with the kind of device.
type ColourDevice struct {
	Header string
	Accept bool
}

// ColourGroup is the field with the group of an experiment.
type ColourGroup struct {
	Header string
	Accept bool
	Groups []ColourGroupShare
	Key    []GuardKey
	Salt   string
}

// ColourGroupShare is a group and its share.
type ColourGroupShare struct {
	Pos
	Name   string
	Weight *Percent // nil: what the others leave
}

const (
	colourAcceptAbout  = `Take what clients send, if it is of the right form. Off: it is dropped, since anyone could write there what he likes.`
	colourPatternAbout = `Regular expression (RE2) for the whole value. `
)

var colourFilterObject = sync.OnceValue(func() *object[ColourFilter] {
	type T = ColourFilter
	return &object[T]{
		name: "colour", article: "a",
		about: "Marks requests at the edge with header fields: a trace's id, the group of an experiment, the user, the kind of device. The upstream gets them, and rules of splits, keys of guards behind it and request_headers of the access log can name them. What clients send in these fields is dropped unless it is accepted; no value is longer than 128 bytes.",
		pos:   func(v *T) *Pos { return &v.Pos },
		keys: []key[T]{
			off("trace_id", colourTraceObject, func(v *T) **Colour { return &v.TraceID }, `The id of the request's trace: of its trace context (traceparent), if it has one, else drawn.`),
			always("abtest_group", unlessOff(colourGroupObject, "the experiment has no groups", "write abtest_group: {groups: [{name: a}, {name: b, weight: 10%}]}"),
				func(v *T) **ColourGroup { return &v.Group }, `The group of an experiment. Off by default: it needs groups.`),
			off("user_id", colourUserObject, func(v *T) **ColourUser { return &v.UserID }, `Who asks, by a claim that a guard before this filter has verified.`),
			off("device_type", colourDeviceObject, func(v *T) **ColourDevice { return &v.DeviceType }, `The kind of device, by User-Agent: mobile, tablet, desktop, bot or unknown.`),
			def("invalid", choice("word", ColourDrop, ColourRefuse), func(v *T) *ColourInvalid { return &v.Invalid }, ColourDrop,
				`What becomes of a field that is accepted and not of the right form: drop (it is set as if it had not been sent) or refuse (400). Dropped by default: clients send the oddest things, and nothing depends on it.`),
			def("mode", guardMode(), func(v *T) *GuardMode { return &v.Guard }, GuardEnforce, `enforce, shadow (what would be refused is counted, recorded and dropped; fields are set all the same) or off. Enforced by default: who writes it down wants it.`),
		},
		check: func(d *decoder, n *yaml.Node, v *T, g given[T]) {
			if !g.clean {
				return
			}
			if v.TraceID == nil && v.Group == nil && v.UserID == nil && v.DeviceType == nil {
				d.fail(n, "write colour: {trace_id: on}", "the filter sets no colour")
			}
		},
	}
})

var colourTraceObject = sync.OnceValue(func() *object[Colour] {
	type T = Colour
	return &object[T]{
		name: "colour_trace_id", article: "a",
		about: "The field with the id of the request's trace. A trace context that is not valid is dropped (W3C Trace Context 4.3); one that is goes on as it is.",
		keys: []key[T]{
			def("header", fieldName(ownField), func(v *T) *string { return &v.Header }, "x-trace-id", `Name of the field.`),
			def("accept", boolean(), func(v *T) *bool { return &v.Accept }, false, colourAcceptAbout),
			may("pattern", text("text", isRegex, shortEnough), func(v *T) *string { return &v.Pattern }, colourPatternAbout+`By default 8 to 64 letters, digits, dashes and underscores.`),
		},
	}
})

var colourUserObject = sync.OnceValue(func() *object[ColourUser] {
	type T = ColourUser
	return &object[T]{
		name: "colour_user_id", article: "a",
		about: "The field with the user. Requests of whom nothing is known have none.",
		keys: []key[T]{
			def("header", fieldName(ownField), func(v *T) *string { return &v.Header }, "x-user-id", `Name of the field.`),
			def("claim", text("claim", notEmpty), func(v *T) *string { return &v.Claim }, "sub", `The claim: sub, which is who a token is about, or a path such as org.user.`),
			def("accept", boolean(), func(v *T) *bool { return &v.Accept }, false, colourAcceptAbout+` A claim goes before it.`),
			may("pattern", text("text", isRegex, shortEnough), func(v *T) *string { return &v.Pattern }, colourPatternAbout+`It is for claims too: what does not fit is left out. By default 1 to 128 visible ASCII characters.`),
		},
	}
})

var colourDeviceObject = sync.OnceValue(func() *object[ColourDevice] {
	type T = ColourDevice
	return &object[T]{
		name: "colour_device_type", article: "a",
		about: "The field with the kind of device.",
		keys: []key[T]{
			def("header", fieldName(ownField), func(v *T) *string { return &v.Header }, "x-device-type", `Name of the field.`),
			def("accept", boolean(), func(v *T) *bool { return &v.Accept }, false, colourAcceptAbout),
		},
	}
})

var colourGroupObject = sync.OnceValue(func() *object[ColourGroup] {
	type T = ColourGroup
	return &object[T]{
		name: "colour_abtest_group", article: "a",
		about: "The field with the group of an experiment. The same key always gets the same group; one that grows only wins keys.",
		keys: []key[T]{
			def("header", fieldName(ownField), func(v *T) *string { return &v.Header }, "x-abtest-group", `Name of the field.`),
			need("groups", listOf(section(colourGroupShareObject)), func(v *T) *[]ColourGroupShare { return &v.Groups }, `One to sixteen.`),
			may("key", guardKey(), func(v *T) *[]GuardKey { return &v.Key },
				`Who keeps a group: `+guardKeyAbout+` Requests that lack a part go by the client's address, which is also the default. {header: x-user-id} is what user_id has set.`),
			may("salt", text("text", notEmpty, shortEnough), func(v *T) *string { return &v.Salt },
				`Experiments with different salts have nothing to do with each other. By default the name of the filter.`),
			def("accept", boolean(), func(v *T) *bool { return &v.Accept }, false, colourAcceptAbout+` On lets testers choose their group.`),
		},
	}
})

var colourGroupShareObject = sync.OnceValue(func() *object[ColourGroupShare] {
	type T = ColourGroupShare
	return &object[T]{
		name: "colour_group", article: "a",
		about: "A group of an experiment.",
		pos:   func(v *T) *Pos { return &v.Pos },
		keys: []key[T]{
			need("name", text("name", checkName), func(v *T) *string { return &v.Name }, `The value of the field. A key's group depends on the names.`),
			may("weight", pointer(splitWeight()), func(v *T) **Percent { return &v.Weight }, `Its share of the keys, in steps of 0.01%. Without one it gets what the others leave, in equal parts.`),
		},
	}
})
