package saga_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"

	_ "modernc.org/sqlite"

	"github.com/yumen-io/yumen/kit/saga"
)

// Order is the data of the saga.
type Order struct {
	Item   string
	Amount int
}

// A shop takes an item from its own stock and lets another service charge the customer. The second order is one that the
// service refuses, and its item goes back.
func Example() {
	if err := shop(); err != nil {
		fmt.Fprintln(os.Stderr, err)
	}
	// Output:
	// order-1: done, stock 9
	// order-2: undone, stock 9, because of: more than 100
}

func shop() error {
	ctx := context.Background()
	paymentDB, err := openDatabase("CREATE TABLE charge (amount INTEGER)")
	if err != nil {
		return err
	}
	defer paymentDB.Close()
	payments, err := paymentService(ctx, paymentDB)
	if err != nil {
		return err
	}
	defer payments.Close()

	db, err := openDatabase("CREATE TABLE stock (item TEXT PRIMARY KEY, n INTEGER); INSERT INTO stock VALUES ('lamp', 10)")
	if err != nil {
		return err
	}
	defer db.Close()
	log, err := saga.NewLog(saga.LogConfig{DB: db, Dialect: saga.SQLite})
	if err != nil {
		return err
	}
	stock, err := saga.NewParty(saga.PartyConfig{DB: db, Dialect: saga.SQLite})
	if err != nil {
		return err
	}
	if err := errors.Join(log.CreateTables(ctx), stock.CreateTables(ctx)); err != nil {
		return err
	}

	move := func(by int) func(context.Context, *sql.Tx, *saga.Call[Order]) error {
		return func(ctx context.Context, tx *sql.Tx, c *saga.Call[Order]) error {
			_, err := tx.ExecContext(ctx, "UPDATE stock SET n = n + ? WHERE item = ?", by, c.Data.Item)
			return err
		}
	}
	order, err := saga.Define(saga.Plan[Order]{Name: "order", Version: 1, Steps: []saga.Step[Order]{
		saga.Local[Order]{Name: "take", Party: stock, Do: move(-1), Undo: move(+1)},
		saga.Remote[Order]{
			Name: "charge",
			Do:   func(ctx context.Context, c *saga.Call[Order]) error { return charge(ctx, payments.URL, c) },
			Undo: func(ctx context.Context, c *saga.Call[Order]) error { return charge(ctx, payments.URL, c) },
		},
	}})
	if err != nil {
		return err
	}
	engine, err := saga.New(saga.Config{Log: log, Definitions: []saga.AnyDefinition{order}})
	if err != nil {
		return err
	}

	for n, amount := range []int{50, 500} {
		if err := order.Start(ctx, log, db, fmt.Sprintf("order-%d", n+1), Order{Item: "lamp", Amount: amount}); err != nil {
			return err
		}
	}
	// A service has go engine.Run(ctx) instead.
	if _, err := engine.RunDue(ctx); err != nil {
		return err
	}
	for _, id := range []string{"order-1", "order-2"} {
		s, err := log.Status(ctx, id)
		if err != nil {
			return err
		}
		var n int
		if err := db.QueryRowContext(ctx, "SELECT n FROM stock WHERE item = 'lamp'").Scan(&n); err != nil {
			return err
		}
		fmt.Printf("%s: %v, stock %d", id, s.State, n)
		if s.Cause != "" {
			fmt.Printf(", because of: %s", s.Cause)
		}
		fmt.Println()
	}
	return nil
}

// client sends the key of the step along.
var client = &http.Client{Transport: saga.RoundTripper(nil)}

// charge asks the payment service, for action and compensation alike: which of them it is, the key says.
func charge(ctx context.Context, url string, c *saga.Call[Order]) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, fmt.Sprintf("%s/charge?amount=%d", url, c.Data.Amount), nil)
	if err != nil {
		return err
	}
	res, err := client.Do(req)
	if err != nil {
		return err // it may have been charged
	}
	defer res.Body.Close()
	text, err := io.ReadAll(io.LimitReader(res.Body, 1000))
	switch {
	case err != nil:
		return err
	case res.StatusCode == http.StatusConflict:
		return saga.Failed(errors.New(string(text))) // it certainly was not
	case res.StatusCode != http.StatusOK:
		return fmt.Errorf("%s: %s", res.Status, text)
	}
	return nil
}

// paymentService is another program with a database of its own.
func paymentService(ctx context.Context, db *sql.DB) (*httptest.Server, error) {
	barrier, err := saga.NewParty(saga.PartyConfig{DB: db, Dialect: saga.SQLite})
	if err != nil {
		return nil, err
	}
	if err := barrier.CreateTables(ctx); err != nil {
		return nil, err
	}
	errTooMuch := errors.New("more than 100")
	return httptest.NewServer(saga.Middleware(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		key, err := saga.ParseKey(saga.KeyFrom(r.Context()))
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		_, err = barrier.Do(r.Context(), key.String(), func(tx *sql.Tx) ([]byte, error) {
			var amount int
			if _, err := fmt.Sscan(r.FormValue("amount"), &amount); err != nil {
				return nil, err
			}
			if key.Undo {
				amount = -amount
			} else if amount > 100 {
				return nil, errTooMuch
			}
			_, err := tx.Exec("INSERT INTO charge VALUES (?)", amount)
			return nil, err
		})
		switch {
		case errors.Is(err, errTooMuch), errors.Is(err, saga.ErrRefused):
			w.WriteHeader(http.StatusConflict)
			fmt.Fprint(w, err)
		case err != nil:
			http.Error(w, err.Error(), http.StatusInternalServerError)
		}
	}))), nil
}

// openDatabase opens one in memory; a service would name a file, as the comment of saga.SQLite says.
func openDatabase(schema string) (*sql.DB, error) {
	db, err := sql.Open("sqlite", ":memory:")
	if err != nil {
		return nil, err
	}
	db.SetMaxOpenConns(1)
	_, err = db.Exec(schema)
	return db, err
}
