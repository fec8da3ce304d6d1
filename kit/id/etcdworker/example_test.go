package etcdworker_test

import (
	"context"
	"fmt"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/yumen-io/yumen/kit/id"
	"github.com/yumen-io/yumen/kit/id/etcdworker"
)

// A service of which many processes run: each leases a worker number when it starts, and gives it back at its end. It
// needs an etcd at 127.0.0.1:2379, so it is compiled and not run here.
func Example() {
	client, err := clientv3.New(clientv3.Config{Endpoints: []string{"127.0.0.1:2379"}})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer client.Close()

	layout := id.DB32()
	workers, err := etcdworker.New(etcdworker.Config{Client: client, Layout: layout})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer func() {
		ctx, cancel := context.WithTimeout(context.Background(), 3*time.Second)
		defer cancel()
		if err := workers.Close(ctx); err != nil {
			fmt.Println(err) // the number is free some seconds later
		}
	}()

	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := workers.Ready(ctx); err != nil {
		fmt.Println(err)
		return
	}
	ids, err := id.New(id.Config{Layout: layout, Worker: workers})
	if err != nil {
		fmt.Println(err)
		return
	}
	v, err := ids.Next(ctx, 17, 3)
	fmt.Println(v, err)
}
