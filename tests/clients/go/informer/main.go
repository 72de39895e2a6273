// Command informer lists and watches the ConfigMaps of its namespace, or what its argument names, by client-go's informer,
// and prints their names once it has them. Whether it asks for a list or for a watch list is client-go's own KUBE_FEATURE_WatchListClient.
package main

import (
	"fmt"
	"log"
	"os"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
)

func main() {
	config, err := rest.InClusterConfig()
	if err != nil {
		log.Fatal(err)
	}
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		log.Fatal(err)
	}
	namespace, err := os.ReadFile("/var/run/secrets/kubernetes.io/serviceaccount/namespace")
	if err != nil {
		log.Fatal(err)
	}
	factory := informers.NewSharedInformerFactoryWithOptions(client, 0, informers.WithNamespace(string(namespace)))
	resource := "configmaps"
	if len(os.Args) > 1 {
		resource = os.Args[1]
	}
	informer, err := factory.ForResource(corev1.SchemeGroupVersion.WithResource(resource))
	if err != nil {
		log.Fatal(err)
	}
	synced := informer.Informer().HasSynced
	factory.Start(nil)
	cache.WaitForCacheSync(nil, synced)
	found, err := informer.Lister().List(labels.Everything())
	if err != nil {
		log.Fatal(err)
	}
	var names []string
	for _, object := range found {
		names = append(names, object.(metav1.Object).GetName())
	}
	slices.Sort(names)
	fmt.Println("synced", len(names), strings.Join(names, " "))
	select {}
}
