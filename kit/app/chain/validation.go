package chain

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"reflect"
	"strconv"
	"strings"
	"sync"

	"buf.build/go/protovalidate"
	"github.com/go-playground/validator/v10"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/protoadapt"
)

// Validation is what the content of calls must be like. Structs say it in tags as gin's (`binding:"required,min=1"`, the words are those
// of github.com/go-playground/validator), protobuf messages in their buf.validate options (protovalidate). Messages of gRPC are
// checked before the handler sees them, requests of HTTP by Bind.
type Validation struct {
	// Off leaves messages of gRPC alone. Bind checks all the same.
	Off bool
	// BodyMax is how many bytes of a request Bind reads. 0: 1 MiB.
	BodyMax int64
	// UnknownFields lets JSON have members that a struct has not. They are refused otherwise: a word that is spelled wrong would be
	// an option that is not set.
	UnknownFields bool
	// Types are samples of what will be checked, structs and protobuf messages, whose rules New reads: it fails where Bind or a call
	// would later.
	Types []any
	// Message is the sentence for a Violation, for services that speak another language; "" leaves the English one. It is called by
	// many goroutines at once.
	Message func(Violation) string
	// Register adds the service's own rules to the validator, before Types are read.
	Register func(*validator.Validate) error
}

const bodyDefault = 1 << 20

// violationsMax bounds an answer: a list with a thousand members may break a thousand rules.
const violationsMax = 100

// Violation is a rule that is broken.
type Violation struct {
	// Field is the path to what breaks it, by the names that clients know: "items[0].quantity". "": the whole.
	Field string `json:"field"`
	// Rule is its word: required, min, type, unknown_field, ...; of protobuf as protovalidate has it: string.email.
	Rule string `json:"rule"`
	// Param is what the rule has been given: of min=1 the 1.
	Param string `json:"-"`
	// Message is a sentence without its subject: "must be 1 or more".
	Message string `json:"message"`
}

// ValidationError is content that cannot be read or breaks rules. Refuse answers a request with it, and handlers of gRPC may
// return it: it is INVALID_ARGUMENT with a BadRequest.
type ValidationError struct {
	Status     int    // of HTTP: 400, 413, 415
	Reason     string // ReasonInvalid, ReasonTooLarge, ReasonContentType
	Violations []Violation
}

// Error has all of them.
func (e *ValidationError) Error() string {
	var b strings.Builder
	b.WriteString(e.detail())
	for i, v := range e.Violations {
		sep := ", "
		if i == 0 {
			sep = ": "
		}
		b.WriteString(sep)
		b.WriteString(strings.TrimSpace(v.Field + " " + v.Message))
	}
	return b.String()
}

func (e *ValidationError) detail() string {
	switch {
	case e.Reason == ReasonTooLarge:
		return "the body is larger than is accepted"
	case e.Reason == ReasonContentType:
		return "the body is of a kind that is not accepted"
	case len(e.Violations) == 1:
		return "one field is not right"
	}
	return strconv.Itoa(len(e.Violations)) + " fields are not right"
}

// NotSent tells other packages of the kit that the service has not failed.
func (e *ValidationError) NotSent() bool { return true }

// HTTPStatus is the Status.
func (e *ValidationError) HTTPStatus() int { return e.Status }

// GRPCStatus is for status.FromError. Its BadRequest has the paths, the sentences, and the rules in upper case as its reasons.
func (e *ValidationError) GRPCStatus() *status.Status {
	st := status.New(codes.InvalidArgument, e.Error()+" ("+e.Reason+")")
	info := &errdetails.BadRequest{}
	for _, v := range e.Violations {
		info.FieldViolations = append(info.FieldViolations, &errdetails.BadRequest_FieldViolation{Field: v.Field, Description: v.Message, Reason: upper(v.Rule)})
	}
	if with, err := st.WithDetails(protoadapt.MessageV1Of(info)); err == nil {
		return with
	}
	return st
}

// upper writes a rule as FieldViolation.reason asks for it.
func upper(rule string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case 'a' <= r && r <= 'z':
			return r - 'a' + 'A'
		case 'A' <= r && r <= 'Z', '0' <= r && r <= '9':
			return r
		}
		return '_'
	}, rule)
}

// write answers with a problem document (RFC 9457).
func (e *ValidationError) write(w http.ResponseWriter) {
	type problem struct {
		Type   string      `json:"type"`
		Title  string      `json:"title"`
		Status int         `json:"status"`
		Detail string      `json:"detail"`
		Reason string      `json:"reason"`
		Errors []Violation `json:"errors,omitempty"`
	}
	b, err := json.Marshal(problem{"about:blank", http.StatusText(e.Status), e.Status, e.detail(), e.Reason, e.Violations})
	if err != nil {
		panic(err) // strings and a number
	}
	h := w.Header()
	h.Set("Content-Type", "application/problem+json")
	h.Set("Content-Length", strconv.Itoa(len(b)))
	w.WriteHeader(e.Status)
	_, _ = w.Write(b)
}

// rules are the two validators, as the chain has set them up.
type rules struct {
	cfg     Validation
	structs *validator.Validate
	protos  func() (protovalidate.Validator, error) // made when it is needed first: that takes 10 ms, and not all services have any
	tagged  sync.Map                                // reflect.Type: whether it is a struct with rules
}

func newRules(cfg Validation) (*rules, error) {
	v := &rules{cfg: cfg, structs: validator.New()}
	if cfg.BodyMax < 0 {
		return nil, bad("Validation.BodyMax: %d is below 0", cfg.BodyMax)
	}
	if cfg.BodyMax == 0 {
		v.cfg.BodyMax = bodyDefault
	}
	v.structs.SetTagName("binding")
	v.structs.RegisterTagNameFunc(clientName)
	v.protos = sync.OnceValues(func() (protovalidate.Validator, error) { return protovalidate.New() })
	if cfg.Register != nil {
		if err := cfg.Register(v.structs); err != nil {
			return nil, bad("Validation.Register: %w", err)
		}
	}
	var errs []error
	for i, sample := range cfg.Types {
		if err := v.compile(sample); err != nil {
			errs = append(errs, bad("Validation.Types[%d] (%T): %w", i, sample, err))
		}
	}
	return v, errors.Join(errs...)
}

// defaults are for Bind where there is no chain.
var defaults = sync.OnceValue(func() *rules {
	v, err := newRules(Validation{})
	if err != nil {
		panic(err)
	}
	return v
})

func (c *Chain) readValidation() (err error) {
	c.rules, err = newRules(c.cfg.Validation)
	return err
}

// compile finds out whether the rules of a type can be read, by checking an empty one of it.
func (v *rules) compile(sample any) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("%v", p) // the validator's way to speak of tags
		}
	}()
	if m, ok := sample.(proto.Message); ok {
		if err = v.message(m); errors.As(err, new(*ValidationError)) {
			return nil
		}
		return err
	}
	t := reflect.TypeOf(sample)
	for t != nil && t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if t == nil || t.Kind() != reflect.Struct {
		return errors.New("it is neither a struct nor a protobuf message")
	}
	if _, err = planOf(t); err != nil {
		return err
	}
	if err = v.structs.Struct(reflect.New(t).Interface()); errors.As(err, new(validator.ValidationErrors)) {
		return nil
	}
	return err
}

// clientName is what clients call a field.
func clientName(f reflect.StructField) string {
	for _, tag := range [...]string{"json", "uri", "form", "header"} {
		if name, _, _ := strings.Cut(f.Tag.Get(tag), ","); name != "" && name != "-" {
			return name
		}
	}
	if f.Anonymous {
		return embedded
	}
	return f.Name
}

// embedded stands in paths for what clients do not see.
const embedded = "\x00"

// check is for a value that was decoded, or came as a message of gRPC. The error is a *ValidationError, or our own mistake.
func (v *rules) check(value any) error {
	if m, ok := value.(proto.Message); ok {
		return v.message(m)
	}
	r := reflect.ValueOf(value)
	for r.Kind() == reflect.Pointer && !r.IsNil() {
		r = r.Elem()
	}
	return v.value(r, "")
}

// value checks a struct, or each in a list.
func (v *rules) value(r reflect.Value, path string) error {
	switch r.Kind() {
	case reflect.Struct:
		of := r
		if r.CanAddr() {
			of = r.Addr() // not a copy
		}
		err := v.structs.Struct(of.Interface())
		if err == nil {
			return nil
		}
		return v.explain(err, path, func(field string) string { return strings.TrimPrefix(field, r.Type().Name()+".") })
	case reflect.Slice, reflect.Array:
		if e := r.Type().Elem(); e.Kind() != reflect.Struct && (e.Kind() != reflect.Pointer || e.Elem().Kind() != reflect.Struct) {
			return nil
		}
		all := &ValidationError{Status: http.StatusBadRequest, Reason: ReasonInvalid}
		for i := range r.Len() {
			of := r.Index(i)
			for of.Kind() == reflect.Pointer && !of.IsNil() {
				of = of.Elem()
			}
			if of.Kind() != reflect.Struct {
				continue
			}
			err := v.value(of, "["+strconv.Itoa(i)+"].")
			if one := (*ValidationError)(nil); errors.As(err, &one) {
				all.Violations = append(all.Violations, one.Violations...)
			} else if err != nil {
				return err
			}
			if len(all.Violations) >= violationsMax {
				break
			}
		}
		if len(all.Violations) > 0 {
			return all
		}
	}
	return nil
}

// explain makes a ValidationError of what the validator says. within takes the type's own name off a path, where it has one.
func (v *rules) explain(err error, path string, within func(string) string) error {
	broken := validator.ValidationErrors(nil)
	if !errors.As(err, &broken) {
		return err
	}
	e := &ValidationError{Status: http.StatusBadRequest, Reason: ReasonInvalid}
	for _, f := range broken {
		if len(e.Violations) == violationsMax {
			break
		}
		field := strings.ReplaceAll(within(f.Namespace()), embedded+".", "")
		e.Violations = append(e.Violations, v.told(Violation{Field: path + field, Rule: f.Tag(), Param: f.Param(), Message: sentence(f)}))
	}
	return e
}

func (v *rules) told(of Violation) Violation {
	if v.cfg.Message != nil {
		if text := v.cfg.Message(of); text != "" {
			of.Message = text
		}
	}
	return of
}

// message checks a protobuf message.
func (v *rules) message(m proto.Message) error {
	protos, err := v.protos()
	if err != nil {
		return err
	}
	err = protos.Validate(m)
	if err == nil {
		return nil
	}
	broken := (*protovalidate.ValidationError)(nil)
	if !errors.As(err, &broken) {
		return err // rules that cannot be read
	}
	e := &ValidationError{Status: http.StatusBadRequest, Reason: ReasonInvalid}
	for _, of := range broken.Violations {
		if len(e.Violations) == violationsMax {
			break
		}
		text := of.Proto.GetMessage()
		if text == "" {
			text = "breaks the rule " + of.Proto.GetRuleId()
		}
		e.Violations = append(e.Violations, v.told(Violation{Field: protovalidate.FieldPathString(of.Proto.GetField()), Rule: of.Proto.GetRuleId(), Message: text}))
	}
	return e
}

// checkMessage is the stage of Validation for gRPC. What has no rules costs a look at its type.
func (c *Chain) checkMessage(call *Call, m any) error {
	v := c.rules
	if _, ok := m.(proto.Message); !ok {
		t := reflect.TypeOf(m)
		has, known := v.tagged.Load(t)
		if !known {
			has = isStruct(t)
			v.tagged.Store(t, has) // as many as the service has types of messages
		}
		if !has.(bool) {
			return nil
		}
	}
	err := v.check(m)
	if err == nil {
		return nil
	}
	if invalid := (*ValidationError)(nil); errors.As(err, &invalid) {
		call.refused(StageValidation, invalid.Reason, nil)
		return invalid
	}
	return &Refusal{Status: http.StatusInternalServerError, Code: codes.Internal, Reason: "rules_unreadable", Text: "Something went wrong here.", Cause: err}
}

func isStruct(t reflect.Type) bool {
	for t != nil && t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	return t != nil && t.Kind() == reflect.Struct
}

// sentence says what a rule wants, without saying of what.
func sentence(f validator.FieldError) string {
	p := f.Param()
	kind := f.Kind()
	unit := ""
	switch kind {
	case reflect.String:
		unit = " characters"
	case reflect.Slice, reflect.Array, reflect.Map:
		unit = " members"
	}
	size := func(how string) string {
		if unit != "" {
			return "must have " + how + unit
		}
		return "must be " + how
	}
	switch f.Tag() {
	case "required", "required_if", "required_unless", "required_with", "required_without", "required_with_all", "required_without_all":
		return "is required"
	case "min", "gte":
		return size(p + " or more")
	case "max", "lte":
		return size(p + " or fewer")
	case "gt":
		return size("more than " + p)
	case "lt":
		return size("fewer than " + p)
	case "len":
		return size(p)
	case "eq":
		return "must be " + p
	case "ne":
		return "must not be " + p
	case "oneof":
		return "must be one of " + p
	case "email":
		return "must be an e-mail address"
	case "url", "uri", "http_url":
		return "must be a URL"
	case "uuid", "uuid4", "uuid_rfc4122":
		return "must be a UUID"
	case "ip", "ipv4", "ipv6":
		return "must be an IP address"
	case "datetime":
		return "must be a time like " + p
	case "alphanum":
		return "must have letters and digits only"
	case "numeric", "number":
		return "must be a number"
	case "unique":
		return "must have no member twice"
	case "eqfield":
		return "must be the same as " + p
	case "startswith":
		return "must begin with " + p
	case "endswith":
		return "must end with " + p
	case "contains":
		return "must contain " + p
	}
	if p != "" {
		return "breaks the rule " + f.Tag() + "=" + p
	}
	return "breaks the rule " + f.Tag()
}

// Validate checks the rules of a value, a struct or a protobuf message or a list of structs, as Bind does. The error is a
// *ValidationError, or says that the rules cannot be read.
func (c *Chain) Validate(value any) error { return c.rules.check(value) }

// Validator is what checks structs, for libraries that want one. Rules are added by Validation.Register.
func (c *Chain) Validator() *validator.Validate { return c.rules.structs }

// Explain makes a *ValidationError of what encoding/json, net/http's limit of a body and the validator say of a request's content.
// Other errors are returned as they are.
func (c *Chain) Explain(err error) error {
	broken := validator.ValidationErrors(nil)
	tooLarge := (*http.MaxBytesError)(nil)
	switch {
	case err == nil, errors.As(err, new(*ValidationError)):
		return err
	case errors.As(err, &broken):
		return c.rules.explain(broken, "", func(field string) string {
			if _, inner, ok := strings.Cut(field, "."); ok { // the type is not known here; one without a name has few levels
				return inner
			}
			return field
		})
	case errors.As(err, &tooLarge):
		return c.rules.tooLarge(tooLarge.Limit)
	case errors.As(err, new(*json.SyntaxError)), errors.As(err, new(*json.UnmarshalTypeError)), errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF),
		strings.HasPrefix(err.Error(), unknownField):
		return c.rules.explainJSON(err)
	}
	return err
}
