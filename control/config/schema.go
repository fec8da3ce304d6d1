package config

import (
	"bytes"
	"encoding/json"
	"fmt"
)

// schemaID names the schema. It is a name, not a place: editors are given the text itself.
const schemaID = "https://yumen-io.github.io/schema/gateway.json"

// Schema returns the JSON Schema (draft 2020-12) of a document, for completion, hover texts and checking in editors.
// It is made from the tables the parser reads by. It accepts every document Parse accepts; what only the parser can see
// (dangling references, addresses that collide, variables that are not set) it lets through.
func Schema() []byte {
	b := &schemaBuilder{defs: map[string]any{}}
	root := refTo(b, documentObject())
	out := map[string]any{
		"$schema": "https://json-schema.org/draft/2020-12/schema",
		"$id":     schemaID,
		"title":   "Yumen configuration",
		"$ref":    root["$ref"],
		"$defs":   b.defs,
	}
	var text bytes.Buffer
	enc := json.NewEncoder(&text)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if err := enc.Encode(out); err != nil {
		panic(fmt.Sprintf("config: the schema does not encode: %v", err)) // maps of strings and numbers only
	}
	return text.Bytes()
}

// schemaBuilder collects the definitions referred to so far.
type schemaBuilder struct {
	defs map[string]any
}

// refTo returns a reference to the schema of o, having put it among the definitions.
func refTo[S any](b *schemaBuilder, o *object[S]) map[string]any {
	ref := map[string]any{"$ref": "#/$defs/" + o.name}
	if _, done := b.defs[o.name]; done {
		return ref
	}
	b.defs[o.name] = nil // taken
	properties := map[string]any{}
	var required []any
	for _, k := range o.keys {
		of := k.schema(b)
		description := k.about
		property := map[string]any{"description": description}
		if _, isRef := of["$ref"]; isRef {
			property["allOf"] = []any{of}
		} else {
			for name, v := range of {
				property[name] = v
			}
		}
		if k.initial != nil {
			var initial any
			if err := k.initial().Decode(&initial); err == nil {
				property["default"] = initial
			}
		}
		properties[k.name] = property
		if k.required {
			required = append(required, k.name)
		}
	}
	self := map[string]any{
		"type":                 "object",
		"description":          o.about,
		"additionalProperties": false,
		"properties":           properties,
	}
	if required != nil {
		self["required"] = required
	}
	if o.schema != nil {
		o.schema(b, self)
	}
	if o.short != nil {
		self = map[string]any{"description": o.about, "anyOf": []any{self, o.short.schema(b)}}
	}
	b.defs[o.name] = self
	return ref
}

// variablePattern matches text with a variable in it, of which an editor cannot know the value.
const variablePattern = `\$\{`

// patternSchema is a string of a given form, or with a variable in it.
func patternSchema(pattern string) map[string]any {
	return map[string]any{"type": "string", "pattern": "^(?:" + pattern + ")$|" + variablePattern}
}

// orVariable lets a value that is not a string be taken from a variable.
func orVariable(schema map[string]any) map[string]any {
	return map[string]any{"anyOf": []any{schema, map[string]any{"type": "string", "pattern": variablePattern}}}
}

// switchSchema is on and off, which YAML 1.1 and 1.2 read differently.
func switchSchema() map[string]any {
	return map[string]any{"enum": []any{"on", "off", "true", "false", true, false}}
}

func anyOf(schemas ...any) map[string]any { return map[string]any{"anyOf": schemas} }
