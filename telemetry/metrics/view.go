package metrics

import "slices"

// View is the counters of one configuration's routes and clusters, in that configuration's order. A snapshot carries
// its view, so an exchange that pinned the snapshot counts where it began even after the next one is in force: nothing
// is resized or renumbered under a loop. It is frozen; a name that is in two views has the same counters in both, which
// is how a count survives a change of configuration.
//
// A route's counters are shown while some live view names it. Afterwards they are gone: what is still added to them is
// not seen, and if the name returns it starts from zero, which Prometheus takes for a restart.
type View struct {
	registry *Registry
	routes   []*series[Route]
	clusters []*series[Cluster]

	// Control plane's; guarded by Registry.mu.
	usedRoutes     []*series[Route]
	usedClusters   []*series[Cluster]
	foldedRoutes   int
	foldedClusters int
}

// View makes the counters for a configuration: routes[i] is what the loops will call route i, and likewise for clusters.
// Names need not be unique; those that are equal share. Call it when the snapshot is about to be swapped in, and
// Release it when no exchange pins that snapshot any more, or when the swap did not happen: the number of series is
// bounded by the limits times the number of live views.
func (r *Registry) View(routes, clusters []string) *View {
	r.mu.Lock()
	defer r.mu.Unlock()
	v := &View{registry: r}
	v.routes, v.usedRoutes, v.foldedRoutes = r.mu.routes.resolve(routes, r.otherRoutes, labelNone, labelOther)
	v.clusters, v.usedClusters, v.foldedClusters = r.mu.clusters.resolve(clusters, r.otherClusters, labelOther)
	r.mu.views = append(r.mu.views, v)
	return v
}

// NoRoute stands for the route of a request that no route matched.
const NoRoute = -1

// Route returns the counters of a route on a loop; route is an index into the names the view was made for, or NoRoute.
func (v *View) Route(loop, route int) *Route {
	if route == NoRoute {
		return &v.registry.noRoute.shards[loop]
	}
	return &v.routes[route].shards[loop]
}

// Cluster returns the counters of a cluster on a loop; cluster is an index into the names the view was made for.
func (v *View) Cluster(loop, cluster int) *Cluster { return &v.clusters[cluster].shards[loop] }

// Release says that nothing will be counted through v any more. A second call does nothing.
func (v *View) Release() {
	r := v.registry
	r.mu.Lock()
	defer r.mu.Unlock()
	i := slices.Index(r.mu.views, v)
	if i < 0 {
		return
	}
	r.mu.views = slices.Delete(r.mu.views, i, i+1)
	r.mu.routes.release(v.usedRoutes)
	r.mu.clusters.release(v.usedClusters)
	v.usedRoutes, v.usedClusters = nil, nil
}
