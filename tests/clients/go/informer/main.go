// Command informer lists and watches the ConfigMaps of its namespace, or what its first argument names, by client-go's
// informer, or with a second one by its informer of metadata, and prints their names once it has them. Whether it asks for a list or for a watch list is client-go's own KUBE_FEATURE_WatchListClient.
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
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/metadata/metadatainformer"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
)

func main() {
	config, err := rest.InClusterConfig()
	if err != nil {
		log.Fatal(err)
	}
	namespace, err := os.ReadFile("/var/run/secrets/kubernetes.io/serviceaccount/namespace")
	if err != nil {
		log.Fatal(err)
	}
	resource := "configmaps"
	if len(os.Args) > 1 {
		resource = os.Args[1]
	}
	of := ofObjects
	if len(os.Args) > 2 {
		of = ofMetadata
	}
	informer, err := of(config, string(namespace), corev1.SchemeGroupVersion.WithResource(resource))
	if err != nil {
		log.Fatal(err)
	}
	go informer.Informer().Run(nil)
	cache.WaitForCacheSync(nil, informer.Informer().HasSynced)
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

func ofObjects(config *rest.Config, namespace string, resource schema.GroupVersionResource) (informers.GenericInformer, error) {
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return nil, err
	}
	return informers.NewSharedInformerFactoryWithOptions(client, 0, informers.WithNamespace(namespace)).ForResource(resource)
}

func ofMetadata(config *rest.Config, namespace string, resource schema.GroupVersionResource) (informers.GenericInformer, error) {
	client, err := metadata.NewForConfig(config)
	if err != nil {
		return nil, err
	}
	return metadatainformer.NewFilteredSharedInformerFactory(client, 0, namespace, nil).ForResource(resource), nil
}
