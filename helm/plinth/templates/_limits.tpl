{{/* What would not work, said before it is tried. */}}
{{- define "plinth.limits" -}}
{{- $most := int .it.replicas -}}
{{- with and .Values.autoscaling.enabled .it.autoscaling -}}
{{- $most = int .max -}}
{{- if gt (int .min) $most }}{{ fail (printf "%s: autoscaling from %d to %d replicas" $.name (int .min) $most) }}{{ end -}}
{{- end -}}
{{- if and .it.partitions (gt $most (int .it.partitions)) -}}
{{- fail (printf "%s: %d replicas, but its topics have %d partitions: the others would idle" .name $most (int .it.partitions)) -}}
{{- end -}}
{{- $http := list -}}
{{- range .it.probes }}{{ if hasPrefix "/" (toString .) }}{{ $http = append $http "probes" }}{{ end }}{{ end -}}
{{- if .it.metrics }}{{ $http = append $http "metrics" }}{{ end -}}
{{- if .it.ingress }}{{ $http = append $http "ingress" }}{{ end -}}
{{- if and $http (not (hasKey .it.ports "http")) -}}
{{- fail (printf "%s: ports.http is needed by %s" .name (uniq $http | join " and ")) -}}
{{- end -}}
{{- if and .Values.monitoring.operator .Values.networkPolicy.enabled (not .Values.monitoring.from) -}}
{{- fail "monitoring.from: who may read the metrics, e.g. [{namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: monitoring}}}]" -}}
{{- end -}}
{{- end -}}

{{/* The one source of a mount. */}}
{{- define "plinth.oneSource" -}}
{{- $sources := keys (omit .source "keys" "data") | sortAlpha -}}
{{- if and (hasKey .source "data") (not (hasKey .source "files")) }}{{ $sources = append $sources "data" }}{{ end -}}
{{- if gt (len $sources) 1 -}}
{{- fail (printf "%s: %s has %s: set to null what the chart gives it and you replace" .name .path (join " and " $sources)) -}}
{{- end -}}
{{- end -}}
