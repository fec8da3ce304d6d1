package chain

import (
	"encoding"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"reflect"
	"strconv"
	"strings"
	"sync"
	"time"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
)

// Bind reads a request into a T and checks its rules. The tags of T's fields say where they come from, as with gin:
//
//	json:"name"     the body, if it is application/json (or +json)
//	form:"name"     the query, and the body if it is application/x-www-form-urlencoded; "name,default=1" is for what is not there
//	uri:"name"      the path, as Request.PathValue has it: of http.ServeMux and chi; of gin after ginchain.Bind
//	header:"Name"   a header field
//
// A field with one of the last three tags and no json of its own is never set by a body's JSON. T may also be a pointer to a protobuf
// message, whose body is read as protobuf's JSON. Bodies of other kinds are refused, also those that do not say theirs.
//
// The settings are those of the chain that the request has passed, or the defaults of Validation. The error is a *ValidationError
// (answer it with Refuse), that of the context if the time is over, or that of reading the body.
func Bind[T any](r *http.Request) (T, error) {
	var into T
	v := defaults()
	if c := CallOf(r.Context()); c != nil {
		v = c.chain.rules
	}
	err := v.bind(r, &into)
	if err != nil {
		if ctx := r.Context().Err(); ctx != nil && !errors.As(err, new(*ValidationError)) {
			err = ctx
		}
		var none T
		return none, err
	}
	return into, nil
}

// bind reads into what into points to.
func (v *rules) bind(r *http.Request, into any) error {
	at := reflect.ValueOf(into).Elem()
	for at.Kind() == reflect.Pointer {
		at.Set(reflect.New(at.Type().Elem()))
		if m, ok := at.Interface().(proto.Message); ok {
			return v.bindMessage(r, m)
		}
		at = at.Elem()
	}
	p, err := planOf(at.Type())
	if err != nil {
		return err
	}
	body, kind, err := v.body(r)
	if err != nil {
		return err
	}
	var form url.Values
	switch kind {
	case bodyJSON:
		if err := v.decode(body, at.Addr().Interface()); err != nil {
			return err
		}
		for _, f := range p {
			if !f.json {
				if of, ok := f.find(at, false); ok {
					of.SetZero()
				}
			}
		}
	case bodyForm:
		if form, err = url.ParseQuery(string(body)); err != nil {
			return v.unreadable("", "syntax", "is no form: "+err.Error())
		}
	}
	var broken []Violation
	var query url.Values
	for i := range p {
		f := &p[i]
		var values []string
		switch f.from {
		case fromForm:
			if query == nil && r.URL.RawQuery != "" {
				query = r.URL.Query()
			}
			if values = query[f.name]; values == nil {
				values = form[f.name]
			}
		case fromPath:
			if value := r.PathValue(f.name); value != "" {
				values = []string{value}
			}
		case fromHeader:
			values = r.Header[f.name]
		}
		if values == nil && f.other != "" {
			values = []string{f.other}
		}
		if values == nil {
			continue
		}
		of, _ := f.find(at, true)
		if err := f.set(of, values); err != nil {
			broken = append(broken, v.told(Violation{Field: f.name, Rule: "type", Message: err.Error()}))
		}
	}
	if broken != nil {
		return &ValidationError{Status: http.StatusBadRequest, Reason: ReasonInvalid, Violations: broken}
	}
	return v.value(at, "")
}

func (v *rules) bindMessage(r *http.Request, m proto.Message) error {
	body, kind, err := v.body(r)
	if err != nil {
		return err
	}
	switch kind {
	case bodyJSON:
		if err := (protojson.UnmarshalOptions{DiscardUnknown: v.cfg.UnknownFields}).Unmarshal(body, m); err != nil {
			return v.unreadable("", "syntax", "is no JSON of this message: "+strings.TrimPrefix(err.Error(), "proto: "))
		}
	case bodyForm:
		return contentType()
	}
	return v.message(m)
}

type bodyKind uint8

const (
	noBody bodyKind = iota
	bodyJSON
	bodyForm
)

// body reads all of it, up to BodyMax.
func (v *rules) body(r *http.Request) ([]byte, bodyKind, error) {
	if r.Body == nil || r.Body == http.NoBody || r.ContentLength == 0 {
		return nil, noBody, nil
	}
	kind := noBody
	switch media, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type")); {
	case media == "application/json" || strings.HasSuffix(media, "+json"):
		kind = bodyJSON
	case media == "application/x-www-form-urlencoded":
		kind = bodyForm
	}
	if r.ContentLength > v.cfg.BodyMax {
		return nil, kind, v.tooLarge(v.cfg.BodyMax)
	}
	body, err := io.ReadAll(io.LimitReader(r.Body, v.cfg.BodyMax+1))
	if tooLarge := (*http.MaxBytesError)(nil); errors.As(err, &tooLarge) || int64(len(body)) > v.cfg.BodyMax {
		return nil, kind, v.tooLarge(v.cfg.BodyMax)
	}
	if err != nil {
		return nil, kind, fmt.Errorf("reading the body: %w", err)
	}
	if len(body) == 0 {
		return nil, noBody, nil
	}
	if kind == noBody {
		return nil, kind, contentType()
	}
	return body, kind, nil
}

func (v *rules) tooLarge(most int64) error {
	text := strconv.FormatInt(most, 10)
	return &ValidationError{Status: http.StatusRequestEntityTooLarge, Reason: ReasonTooLarge, Violations: []Violation{
		v.told(Violation{Rule: "max_bytes", Param: text, Message: "must have " + text + " bytes or fewer"})}}
}

func contentType() error {
	return &ValidationError{Status: http.StatusUnsupportedMediaType, Reason: ReasonContentType, Violations: []Violation{
		{Rule: "content_type", Message: "must be application/json or application/x-www-form-urlencoded"}}}
}

func (v *rules) unreadable(field, rule, message string) error {
	return &ValidationError{Status: http.StatusBadRequest, Reason: ReasonInvalid, Violations: []Violation{v.told(Violation{Field: field, Rule: rule, Message: message})}}
}

// decode reads one JSON value and nothing after it.
func (v *rules) decode(body []byte, into any) error {
	d := json.NewDecoder(strings.NewReader(string(body)))
	if !v.cfg.UnknownFields {
		d.DisallowUnknownFields()
	}
	if err := d.Decode(into); err != nil {
		return v.explainJSON(err)
	}
	if _, err := d.Token(); err != io.EOF {
		return v.unreadable("", "syntax", "goes on after its end")
	}
	return nil
}

// unknownField is how encoding/json begins to say it, which has no type.
const unknownField = "json: unknown field "

// explainJSON makes a ValidationError of what encoding/json says.
func (v *rules) explainJSON(err error) error {
	var syntax *json.SyntaxError
	var wrong *json.UnmarshalTypeError
	switch {
	case errors.As(err, &wrong):
		return v.unreadable(wrong.Field, "type", "must be "+kindOf(wrong.Type)+", and is a "+wrong.Value)
	case errors.As(err, &syntax):
		return v.unreadable("", "syntax", fmt.Sprintf("is no JSON at byte %d: %v", syntax.Offset, err))
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return v.unreadable("", "syntax", "ends too soon")
	}
	if name, ok := strings.CutPrefix(err.Error(), unknownField); ok {
		if plain, err := strconv.Unquote(name); err == nil {
			name = plain
		}
		return v.unreadable(name, "unknown_field", "is not known here")
	}
	return v.unreadable("", "syntax", err.Error()) // of an UnmarshalJSON of the service's own
}

func kindOf(t reflect.Type) string {
	switch t.Kind() {
	case reflect.String:
		return "a text"
	case reflect.Bool:
		return "true or false"
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64, reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		return "an integer of " + strconv.Itoa(t.Bits()) + " bits"
	case reflect.Float32, reflect.Float64:
		return "a number"
	case reflect.Slice, reflect.Array:
		return "a list"
	case reflect.Struct, reflect.Map:
		return "an object"
	}
	return "a " + t.String()
}

type fromWhere uint8

const (
	fromForm fromWhere = iota
	fromPath
	fromHeader
)

// planField is a field that does not come from JSON, or not only.
type planField struct {
	index []int
	from  fromWhere
	name  string
	other string // its default
	json  bool   // the body's JSON may set it
	set   func(reflect.Value, []string) error
}

// find is the field in a struct; grow makes what embedded pointers lack.
func (f *planField) find(at reflect.Value, grow bool) (reflect.Value, bool) {
	for _, i := range f.index {
		if at.Kind() == reflect.Pointer {
			if at.IsNil() {
				if !grow {
					return at, false
				}
				at.Set(reflect.New(at.Type().Elem()))
			}
			at = at.Elem()
		}
		at = at.Field(i)
	}
	return at, true
}

var plans sync.Map // reflect.Type: []planField; as many as the program has types

// planOf reads the tags of a type, once.
func planOf(t reflect.Type) ([]planField, error) {
	if p, ok := plans.Load(t); ok {
		return p.([]planField), nil
	}
	p, err := readPlan(t, nil, nil)
	if err != nil {
		return nil, fmt.Errorf("chain: %v: %w", t, err)
	}
	plans.Store(t, p)
	return p, nil
}

func readPlan(t reflect.Type, index []int, plan []planField) ([]planField, error) {
	if t.Kind() != reflect.Struct {
		return plan, nil
	}
	for i := range t.NumField() {
		f := t.Field(i)
		at := append(index[:len(index):len(index)], i)
		if f.Anonymous {
			of := f.Type
			if of.Kind() == reflect.Pointer && f.IsExported() {
				of = of.Elem()
			}
			if of.Kind() == reflect.Struct && of != t {
				var err error
				if plan, err = readPlan(of, at, plan); err != nil {
					return nil, err
				}
				continue
			}
		}
		if !f.IsExported() {
			continue
		}
		for from, tag := range [...]string{fromForm: "form", fromPath: "uri", fromHeader: "header"} {
			name, options, _ := strings.Cut(f.Tag.Get(tag), ",")
			if name == "" || name == "-" {
				continue
			}
			one := planField{index: at, from: fromWhere(from), name: name}
			if one.from == fromHeader {
				one.name = http.CanonicalHeaderKey(name)
			}
			one.other, _ = strings.CutPrefix(options, "default=")
			word, _, _ := strings.Cut(f.Tag.Get("json"), ",")
			one.json = word != "" && word != "-"
			if one.set = setterOf(f.Type); one.set == nil {
				return nil, fmt.Errorf("field %s: a %v cannot come from a %s", f.Name, f.Type, tag)
			}
			plan = append(plan, one)
			break
		}
	}
	return plan, nil
}

var (
	timeType     = reflect.TypeFor[time.Time]()
	durationType = reflect.TypeFor[time.Duration]()
	textType     = reflect.TypeFor[encoding.TextUnmarshaler]()
)

// setterOf writes texts into a value of a type; nil: nobody knows how.
func setterOf(t reflect.Type) func(reflect.Value, []string) error {
	if t.Kind() == reflect.Slice && !reflect.PointerTo(t).Implements(textType) {
		one := scalarOf(t.Elem())
		if one == nil {
			return nil
		}
		return func(v reflect.Value, texts []string) error {
			list := reflect.MakeSlice(t, len(texts), len(texts))
			for i, text := range texts {
				if err := one(list.Index(i), text); err != nil {
					return err
				}
			}
			v.Set(list)
			return nil
		}
	}
	one := scalarOf(t)
	if one == nil {
		return nil
	}
	return func(v reflect.Value, texts []string) error { return one(v, texts[0]) }
}

func scalarOf(t reflect.Type) func(reflect.Value, string) error {
	if t.Kind() == reflect.Pointer {
		one := scalarOf(t.Elem())
		if one == nil {
			return nil
		}
		return func(v reflect.Value, text string) error {
			of := reflect.New(t.Elem())
			if err := one(of.Elem(), text); err != nil {
				return err
			}
			v.Set(of)
			return nil
		}
	}
	switch {
	case t == durationType:
		return func(v reflect.Value, text string) error {
			d, err := time.ParseDuration(text)
			v.SetInt(int64(d))
			return plain(err, "must be a duration like 1m30s")
		}
	case reflect.PointerTo(t).Implements(textType):
		said := "cannot be read"
		if t == timeType {
			said = "must be a time like 2006-01-02T15:04:05Z"
		}
		return func(v reflect.Value, text string) error {
			return plain(v.Addr().Interface().(encoding.TextUnmarshaler).UnmarshalText([]byte(text)), said)
		}
	}
	said := "must be " + kindOf(t)
	switch t.Kind() {
	case reflect.String:
		return func(v reflect.Value, text string) error { v.SetString(text); return nil }
	case reflect.Bool:
		return func(v reflect.Value, text string) error {
			b, err := strconv.ParseBool(text)
			v.SetBool(b)
			return plain(err, said)
		}
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		return func(v reflect.Value, text string) error {
			n, err := strconv.ParseInt(text, 10, t.Bits())
			v.SetInt(n)
			return plain(err, said)
		}
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		return func(v reflect.Value, text string) error {
			n, err := strconv.ParseUint(text, 10, t.Bits())
			v.SetUint(n)
			return plain(err, said)
		}
	case reflect.Float32, reflect.Float64:
		return func(v reflect.Value, text string) error {
			x, err := strconv.ParseFloat(text, t.Bits())
			v.SetFloat(x)
			return plain(err, said)
		}
	}
	return nil
}

func plain(err error, said string) error {
	if err == nil {
		return nil
	}
	return errors.New(said)
}
