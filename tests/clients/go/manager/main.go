// Command manager is controller-runtime's: it finds out what the API has, lists and watches the ConfigMaps of its
// namespace into its cache, and prints their names once it has them.
package main

import (
	"context"
	"fmt"
	"log"
	"os"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/log/zap"
	"sigs.k8s.io/controller-runtime/pkg/manager"
	"sigs.k8s.io/controller-runtime/pkg/metrics/server"
)

func main() {
	ctrl.SetLogger(zap.New())
	namespace, err := os.ReadFile("/var/run/secrets/kubernetes.io/serviceaccount/namespace")
	if err != nil {
		log.Fatal(err)
	}
	m, err := ctrl.NewManager(ctrl.GetConfigOrDie(), ctrl.Options{
		Cache:   cache.Options{DefaultNamespaces: map[string]cache.Config{string(namespace): {}}},
		Metrics: server.Options{BindAddress: "0"},
	})
	if err != nil {
		log.Fatal(err)
	}
	err = m.Add(manager.RunnableFunc(func(ctx context.Context) error {
		var found corev1.ConfigMapList
		if err := m.GetClient().List(ctx, &found); err != nil {
			return err
		}
		var names []string
		for _, configMap := range found.Items {
			names = append(names, configMap.Name)
		}
		slices.Sort(names)
		fmt.Println("synced", len(names), strings.Join(names, " "))
		<-ctx.Done()
		return nil
	}))
	if err != nil {
		log.Fatal(err)
	}
	if err := m.Start(ctrl.SetupSignalHandler()); err != nil {
		log.Fatal(err)
	}
}
