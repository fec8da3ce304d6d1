package etcd

import (
	"fmt"
	"testing"

	"github.com/yumen-io/yumen/kit/registry"
)

func TestTooManyEndpointsOfAService(t *testing.T) {
	set := &registry.Set{}
	for i := range endpointsMax + 3 {
		set.Instances = append(set.Instances, registry.Instance{ID: fmt.Sprint(i), Address: fmt.Sprintf("10.0.%d.%d:80", i/250, i%250+1)})
	}
	list, unusable := (&service{plan: &Service{}}).choose(set)
	if len(list) != endpointsMax || unusable != 3 {
		t.Errorf("%d endpoints and %d that cannot be used", len(list), unusable)
	}
}

// Whoever comes first in the set: every gateway must take the same one.
func TestTheSmallerIDHoldsAnAddress(t *testing.T) {
	set := &registry.Set{}
	for i := range 100 {
		set.Instances = append(set.Instances, registry.Instance{ID: fmt.Sprintf("%02d", (i*37)%100), Address: fmt.Sprintf("10.0.0.%d:80", i%3+1)})
	}
	least := map[string]string{}
	for _, r := range set.Instances {
		if id, ok := least[r.Address]; !ok || r.ID < id {
			least[r.Address] = r.ID
		}
	}
	list, _ := (&service{plan: &Service{}}).choose(set)
	if len(list) != 3 {
		t.Fatalf("%d endpoints", len(list))
	}
	for _, i := range list {
		if i.id != least[i.target.Name] {
			t.Errorf("%s is held by %s and not %s", i.target.Name, i.id, least[i.target.Name])
		}
	}
}
