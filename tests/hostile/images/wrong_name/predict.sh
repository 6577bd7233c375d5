cp /workspace/good.nii.gz "$FLARE_OUTPUTS/prediction.nii.gz"
