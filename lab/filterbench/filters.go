package filterbench

import (
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/runtime"
)

const (
	hubAddress = "169.254.2.1"
	hubPort    = 10268
	node       = "n1"
	pool       = "p"
)

// filters do to the lists of benches/filters.rs what the hub's filters of these
// names do to them, in the plainest way.
var filters = map[string]func(runtime.Object){
	"discardcloudservice": func(list runtime.Object) {
		keep(&list.(*corev1.ServiceList).Items, func(service *corev1.Service) bool {
			return service.Spec.Type != corev1.ServiceTypeLoadBalancer || service.Annotations["svc.openyurt.io/discard"] != "true"
		})
	},
	"nodeportisolation": func(list runtime.Object) {
		keep(&list.(*corev1.ServiceList).Items, func(service *corev1.Service) bool {
			listen, ok := service.Annotations["nodeport.openyurt.io/listen"]
			return !ok || service.Spec.Type != corev1.ServiceTypeNodePort || slices.Contains(strings.Split(listen, ","), pool)
		})
	},
	"masterservice": func(list runtime.Object) {
		each(list.(*corev1.ServiceList).Items, func(service *corev1.Service) {
			if service.Namespace != "default" || service.Name != "kubernetes" {
				return
			}
			service.Spec.ClusterIP, service.Spec.ClusterIPs = hubAddress, []string{hubAddress}
			each(service.Spec.Ports, func(port *corev1.ServicePort) {
				if port.Name == "https" {
					port.Port = hubPort
				}
			})
		})
	},
	"servicetopology": func(list runtime.Object) {
		each(list.(*discoveryv1.EndpointSliceList).Items, func(slice *discoveryv1.EndpointSlice) {
			if slice.Namespace == "a" && slice.Labels[discoveryv1.LabelServiceName] == "s" {
				keep(&slice.Endpoints, func(endpoint *discoveryv1.Endpoint) bool {
					return endpoint.NodeName != nil && *endpoint.NodeName == node
				})
			}
		})
	},
	"forwardkubesvctraffic": func(list runtime.Object) {
		each(list.(*discoveryv1.EndpointSliceList).Items, func(slice *discoveryv1.EndpointSlice) {
			if slice.Namespace != "default" || slice.Labels[discoveryv1.LabelServiceName] != "kubernetes" {
				return
			}
			ready, number := true, int32(hubPort)
			conditions := discoveryv1.EndpointConditions{Ready: &ready}
			slice.Endpoints = []discoveryv1.Endpoint{{Addresses: []string{hubAddress}, Conditions: conditions}}
			each(slice.Ports, func(port *discoveryv1.EndpointPort) {
				if port.Name != nil && *port.Name == "https" {
					port.Port = &number
				}
			})
		})
	},
	"inclusterconfig": func(list runtime.Object) {
		each(list.(*corev1.ConfigMapList).Items, func(configMap *corev1.ConfigMap) {
			if configMap.Namespace == "kube-system" && configMap.Name == "kube-proxy" {
				configMap.Data["config.conf"] = strings.ReplaceAll(configMap.Data["config.conf"], "kubeconfig:", "#kubeconfig:")
			}
		})
	},
	"serviceenvupdater": func(list runtime.Object) {
		each(list.(*corev1.PodList).Items, func(pod *corev1.Pod) {
			each(pod.Spec.Containers, func(container *corev1.Container) {
				each(container.Env, func(variable *corev1.EnvVar) {
					switch variable.Name {
					case "KUBERNETES_SERVICE_HOST":
						variable.Value, variable.ValueFrom = hubAddress, nil
					case "KUBERNETES_SERVICE_PORT":
						variable.Value, variable.ValueFrom = "10268", nil
					}
				})
			})
		})
	},
}

func each[T any](items []T, change func(*T)) {
	for i := range items {
		change(&items[i])
	}
}

func keep[T any](items *[]T, wanted func(*T) bool) {
	kept := (*items)[:0]
	for i := range *items {
		if wanted(&(*items)[i]) {
			kept = append(kept, (*items)[i])
		}
	}
	*items = kept
}
