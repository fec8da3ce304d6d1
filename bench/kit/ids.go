package kit

import (
	"context"

	"github.com/bwmarrin/snowflake"
	"github.com/yumen-io/yumen/kit/id"
)

// Ids is kit/id beside bwmarrin/snowflake.
func Ids() []Row {
	return []Row{
		{
			Name: "one at a time, round the tables (bwmarrin/snowflake)",
			What: "An id for each row of a service with 4 databases of 16 tables each. Every table has 4,096 ids a millisecond; the " +
				"other has that for all.",
			Ours: func() (*Side, error) { return next(64) }, Peer: bwmarrin,
		},
		{
			Name: "one at a time, one table (bwmarrin/snowflake)",
			What: "The same limit for both, 4,096 ids a millisecond. The other spins until the millisecond is over, ours waits.",
			Ours: func() (*Side, error) { return next(1) }, Peer: bwmarrin,
		},
		{
			Name: "in batches of 256 (bwmarrin/snowflake, one at a time)",
			What: "What a batch insert wants, an operation being one id. The other has no batches.",
			Ours: batches, Peer: bwmarrin,
		},
	}
}

func generator() (*id.Generator, error) {
	return id.New(id.Config{Layout: id.Seed(), Worker: id.Fixed(1)})
}

func next(tables int) (*Side, error) {
	of, err := generator()
	if err != nil {
		return nil, err
	}
	return &Side{Do: func(g, n int) error {
		ctx := context.Background()
		for i := range n {
			place := i % tables
			if _, err := of.Next(ctx, place&3, place>>2); err != nil {
				return err
			}
		}
		return nil
	}}, nil
}

func batches() (*Side, error) {
	of, err := generator()
	if err != nil {
		return nil, err
	}
	return &Side{Do: func(g, n int) error {
		ctx := context.Background()
		batch := make([]id.ID, 256)
		for place := 0; n > 0; place++ {
			got, err := of.Fill(ctx, place&3, place>>2&15, batch[:min(n, len(batch))])
			if err != nil {
				return err
			}
			n -= got
		}
		return nil
	}}, nil
}

func bwmarrin() (*Side, error) {
	node, err := snowflake.NewNode(1)
	if err != nil {
		return nil, err
	}
	return &Side{Do: func(_, n int) error {
		for range n {
			node.Generate()
		}
		return nil
	}}, nil
}
