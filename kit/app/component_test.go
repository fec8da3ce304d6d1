package app

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// diary is what happened, in order.
type diary struct {
	sync.Mutex
	events []string
}

func (d *diary) add(format string, args ...any) {
	d.Lock()
	defer d.Unlock()
	d.events = append(d.events, fmt.Sprintf(format, args...))
}

func (d *diary) is(t *testing.T, want ...string) {
	t.Helper()
	d.Lock()
	defer d.Unlock()
	if !slices.Equal(d.events, want) {
		t.Errorf("it went\n\t%s\nand not\n\t%s", strings.Join(d.events, "\n\t"), strings.Join(want, "\n\t"))
	}
}

// component writes into the diary.
func (d *diary) component(name string) Component {
	return Component{Name: name,
		Start: func(context.Context) error { d.add("start %s", name); return nil },
		Stop:  func(context.Context) error { d.add("stop %s", name); return nil }}
}

func (d *diary) components(names ...string) (all []Component) {
	for _, name := range names {
		all = append(all, d.component(name))
	}
	return all
}

// thaw has what hangs for an hour of virtual time return, as a bubble demands.
func thaw() { _ = spend(context.Background(), 2*time.Hour) }

// end shuts down in virtual time and returns what Run did.
func end(t *testing.T, a *App, ended <-chan error) error {
	t.Helper()
	must(t, a.Shutdown(context.Background()))
	return <-ended
}

func TestComponentsStartInOrderAndStopInReverse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &diary{}
		a, ended := ready(t, Config{Components: d.components("database", "cache", "consumer")})
		d.add("ready")
		must(t, end(t, a, ended))
		d.is(t, "start database", "start cache", "start consumer", "ready", "stop consumer", "stop cache", "stop database")
	})
}

func TestAComponentThatDoesNotStart(t *testing.T) {
	refused := errors.New("connection refused")
	for _, c := range []struct {
		name  string
		start func(context.Context) error
		want  string
		is    error
	}{
		{"fails", func(context.Context) error { return refused }, "app: component bad does not start: connection refused", refused},
		{"panics", func(context.Context) error { panic("nil map") }, "app: component bad does not start: panic: nil map", nil},
		{"heeds its deadline", func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }, "app: component bad has not started in 7s: context deadline exceeded", context.DeadlineExceeded},
		{"hangs", func(ctx context.Context) error { return spend(context.WithoutCancel(ctx), time.Hour) }, "app: component bad has not started in 7s, and still tries", nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				d := &diary{}
				components := d.components("first", "second", "bad", "never")
				components[2].Start = c.start
				registered := func(context.Context, Addresses) (Registration, error) { d.add("registered"); return nil, nil }
				a, err := New(Config{Components: components, StartTimeout: 7 * time.Second, NoSignals: true, Logger: silent, Register: []Registrar{registered}})
				must(t, err)
				err = a.Run(context.Background())
				if err == nil || err.Error() != c.want || c.is != nil && !errors.Is(err, c.is) {
					t.Errorf("%v: not %q", err, c.want)
				}
				if p := (*PanicError)(nil); c.name == "panics" && (!errors.As(err, &p) || !strings.Contains(string(p.Stack), "component_test.go")) {
					t.Errorf("the error should hold the panic and its stack: %v", err)
				}
				d.is(t, "start first", "start second", "stop second", "stop first")
				thaw()
			})
		})
	}
}

func TestTheContextEndsDuringTheStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &diary{}
		ctx, cancel := context.WithCancel(context.Background())
		components := d.components("first", "slow", "never")
		components[1].Start = func(ctx context.Context) error { cancel(); <-ctx.Done(); return fmt.Errorf("dial: %w", ctx.Err()) }
		a, err := New(Config{Components: components, NoSignals: true, Logger: silent})
		must(t, err)
		if err := a.Run(ctx); err != nil {
			t.Errorf("it was asked to end, and did: %v", err)
		}
		d.is(t, "start first", "stop first")
	})
}

func TestTheContextHasEndedBeforeTheStart(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	d := &diary{}
	a, err := New(Config{HTTP: HTTPConfig{Address: "127.0.0.1:0", Handler: http.NotFoundHandler()}, Components: d.components("database"), NoSignals: true, Logger: silent})
	must(t, err)
	must(t, a.Run(ctx))
}

func TestAComponentThatHangsInStopTakesItsOwnTimeOnly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &diary{}
		components := d.components("database", "stuck", "consumer")
		components[1].Stop = func(ctx context.Context) error { return spend(context.WithoutCancel(ctx), time.Hour) }
		components[0].Stop = func(ctx context.Context) error {
			until, _ := ctx.Deadline()
			d.add("stop database, at least 1s left: %t", time.Until(until) >= time.Second)
			return nil
		}
		a, ended := ready(t, Config{Components: components, Drain: DrainConfig{Wait: -1, Unready: -1, Stop: 3 * time.Second}})
		err := end(t, a, ended)
		cut := (*CutOff)(nil)
		if !errors.As(err, &cut) || len(cut.Components) != 1 || !strings.HasPrefix(cut.Components[0], "stuck (for 1.") {
			t.Errorf("the error should name what hangs: %v", err)
		}
		d.is(t, "start database", "start stuck", "start consumer", "stop consumer", "stop database, at least 1s left: true")
		thaw()
	})
}

func TestAComponentThatDoesNotStopWell(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &diary{}
		components := d.components("database", "files", "cache")
		full := errors.New("disk is full")
		components[1].Stop = func(context.Context) error { return full }
		components[2].Stop = func(context.Context) error { panic("closed twice") }
		a, ended := ready(t, Config{Components: components})
		err := end(t, a, ended)
		if !errors.Is(err, full) || !strings.Contains(err.Error(), "component files does not stop: disk is full") || !strings.Contains(err.Error(), "component cache does not stop: panic: closed twice") {
			t.Errorf("the error should name both: %v", err)
		}
		d.is(t, "start database", "start files", "start cache", "stop database")
	})
}

func TestAComponentRunsBesideTheService(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &diary{}
		components := d.components("database", "consumer")
		components[1].Run = func(ctx context.Context) error {
			<-ctx.Done()
			d.add("consumer has ended")
			return ctx.Err()
		}
		a, ended := ready(t, Config{Components: components})
		must(t, end(t, a, ended))
		d.is(t, "start database", "start consumer", "consumer has ended", "stop consumer", "stop database")
	})
}

func TestAComponentThatBreaksDrainsTheService(t *testing.T) {
	lost := errors.New("partition lost")
	for name, run := range map[string]func(context.Context) error{
		"fails":  func(ctx context.Context) error { _ = spend(ctx, time.Minute); return lost },
		"panics": func(ctx context.Context) error { _ = spend(ctx, time.Minute); panic(lost) },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				d := &diary{}
				components := d.components("database", "consumer")
				components[1].Run = run
				_, ended := ready(t, Config{Components: components})
				err := <-ended
				if !errors.Is(err, lost) || !strings.Contains(err.Error(), "component consumer") {
					t.Errorf("the error should say which: %v", err)
				}
				d.is(t, "start database", "start consumer", "stop consumer", "stop database")
			})
		})
	}
}

func TestARunThatDoesNotEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &diary{}
		components := d.components("consumer")
		components[0].Run = func(ctx context.Context) error { return spend(context.WithoutCancel(ctx), time.Hour) }
		a, ended := ready(t, Config{Components: components})
		err := end(t, a, ended)
		if cut := (*CutOff)(nil); !errors.As(err, &cut) || len(cut.Components) != 1 {
			t.Errorf("the error should name it: %v", err)
		}
		d.is(t, "start consumer", "stop consumer")
		thaw()
	})
}

func TestAPortThatIsTakenIsKnownBeforeAnythingStarts(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	defer l.Close()
	d := &diary{}
	a, err := New(Config{HTTP: HTTPConfig{Address: "127.0.0.1:0", Handler: http.NotFoundHandler()}, Admin: AdminConfig{Address: l.Addr().String()},
		Components: d.components("database"), NoSignals: true, Logger: silent})
	must(t, err)
	err = a.Run(t.Context())
	if err == nil || !strings.Contains(err.Error(), "app: listen for admin: listen tcp "+l.Addr().String()) {
		t.Errorf("the error should say what and where: %v", err)
	}
	d.is(t)
	if err := a.Run(t.Context()); err != ErrRan {
		t.Errorf("a second Run: %v", err)
	}
	must(t, a.Shutdown(t.Context()))
}

func TestShutdownBeforeRun(t *testing.T) {
	a, err := New(Config{NoSignals: true, Logger: silent})
	must(t, err)
	must(t, a.Shutdown(t.Context()))
	if err := a.Run(t.Context()); err != ErrRan {
		t.Errorf("Run afterwards: %v", err)
	}
}
