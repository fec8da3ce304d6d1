package registry_test

import (
	"context"
	"fmt"
	"net"
	"net/url"
	"os"
	"sync"
	"time"

	"go.etcd.io/etcd/server/v3/embed"

	"github.com/yumen-io/yumen/kit/registry"
)

// A service registers itself, and a caller sees it come and go. An etcd within the program takes the place of yours.
func Example() {
	if err := program(); err != nil {
		fmt.Println(err)
	}
	// Output:
	// orders is registered
	// a caller sees 10.1.2.3:8080 of version 1.4 in zone b
	// etcd is gone, and the caller still sees 1 instance, stale
}

func program() error {
	endpoint, stop, err := startEtcd()
	if err != nil {
		return err
	}
	defer stop()

	// What a service does when it starts. Every process has one Registry.
	service, err := registry.New(registry.Config{Endpoints: []string{endpoint}})
	if err != nil {
		return err
	}
	defer service.Close()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	registration, err := service.Register(ctx, registry.Instance{
		Service: "orders", ID: "host-7", Address: "10.1.2.3:8080", Zone: "b", Version: "1.4", Protocols: []string{"grpc"},
	})
	if err != nil {
		return err
	}
	if err := registration.Wait(ctx); err != nil { // only who wants to know has to wait
		return err
	}
	fmt.Println("orders is", registration.State().Status)

	// What a caller does.
	caller, err := registry.New(registry.Config{Endpoints: []string{endpoint}})
	if err != nil {
		return err
	}
	defer caller.Close()
	orders, err := caller.Watch("orders")
	if err != nil {
		return err
	}
	defer orders.Close()
	for len(orders.Set().Instances) == 0 {
		<-orders.Changed()
	}
	i := orders.Set().Instances[0]
	fmt.Printf("a caller sees %s of version %s in zone %s\n", i.Address, i.Version, i.Zone)

	stop()
	for orders.Set().Freshness != registry.Stale {
		<-orders.Changed()
	}
	fmt.Printf("etcd is gone, and the caller still sees %d instance, %s\n", len(orders.Set().Instances), orders.Set().Freshness)

	// Nobody can be told any more that we end: our lease will run out.
	over, end := context.WithCancel(ctx)
	end()
	_ = service.Shutdown(over)
	return nil
}

// startEtcd runs an etcd of one member on ports that are free.
func startEtcd() (endpoint string, stop func(), err error) {
	dir, err := os.MkdirTemp("", "etcd")
	if err != nil {
		return "", nil, err
	}
	cfg := embed.NewConfig()
	cfg.Dir, cfg.LogLevel, cfg.LogOutputs = dir, "fatal", []string{os.DevNull}
	for _, urls := range []*[]url.URL{&cfg.ListenClientUrls, &cfg.ListenPeerUrls} {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return "", nil, err
		}
		*urls = []url.URL{{Scheme: "http", Host: l.Addr().String()}}
		l.Close()
	}
	cfg.AdvertiseClientUrls, cfg.AdvertisePeerUrls = cfg.ListenClientUrls, cfg.ListenPeerUrls
	cfg.InitialCluster = cfg.InitialClusterFromName(cfg.Name)
	e, err := embed.StartEtcd(cfg)
	if err != nil {
		return "", nil, err
	}
	<-e.Server.ReadyNotify()
	stop = sync.OnceFunc(func() { e.Server.HardStop(); e.Close(); os.RemoveAll(dir) })
	return cfg.ListenClientUrls[0].Host, stop, nil
}
